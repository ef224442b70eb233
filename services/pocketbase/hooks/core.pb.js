/// Core's own hook: the superuser and the readiness route. Written by the wrapper; do not edit.
/// Handlers run isolated from each other, so each reads the environment by itself.
///
/// A middleware that runs before all others answers Core's routes, never their handler: no rate
/// limit, middleware or hook of the user may make a healthy server look unhealthy.

// After e.next() the system tables exist; the user's migrations may not have run yet.
onBootstrap((e) => {
  e.next();
  const email = $os.getenv("CORE_POCKETBASE_ADMIN_EMAIL");
  const password = $os.getenv("CORE_POCKETBASE_ADMIN_PASSWORD");
  const enforce = $os.getenv("CORE_POCKETBASE_ADMIN_ENFORCE") === "1";
  // Some 256 random bits.
  const KEY_LENGTH = 43;
  const find = () => {
    try {
      return $app.findAuthRecordByEmail("_superusers", email);
    } catch (_) {
      return null;
    }
  };
  // bcrypt takes longer than all else in a start. A password that has been found equal is remembered
  // as a keyed digest of the account, the password and the hash in the database: when one of these
  // changes, or the file is missing or damaged, bcrypt decides again.
  const file = $os.getenv("CORE_POCKETBASE_VERIFIED_FILE");
  // The number of times bcrypt ran.
  let hashings = 0;
  const digest = (record, key) => {
    const of = [record.id, email, password, record.getString("password:hash")];
    return $security.hs256(JSON.stringify(of), key);
  };
  const is_known = (record) => {
    try {
      const known = JSON.parse(toString($os.readFile(file)));
      const is_whole = known.key.length === KEY_LENGTH;
      return is_whole && $security.equal(known.digest, digest(record, known.key));
    } catch (_) {
      return false;
    }
  };
  const remember = (record) => {
    const key = $security.randomString(KEY_LENGTH);
    const text = JSON.stringify({ key: key, digest: digest(record, key) });
    // Renamed when it is whole. If that fails, the next start asks bcrypt.
    try {
      const next = file + ".new";
      $os.removeAll(next);
      $os.writeFile(next, text, 0o600);
      $os.rename(next, file);
    } catch (error) {
      console.log("warning: cannot write `" + file + "`: " + error);
    }
  };
  const matches = (record) => {
    if (is_known(record)) {
      return true;
    }
    hashings += 1;
    const is_equal = record.validatePassword(password);
    if (is_equal) {
      remember(record);
    }
    return is_equal;
  };
  const save = (record) => {
    hashings += 1;
    record.setPassword(password);
    const hash = record.getString("password:hash");
    $app.save(record);
    const saved = find();
    // Hooks of the user run while it is saved.
    if (!hash || !saved || saved.getString("password:hash") !== hash) {
      throw new Error("the superuser cannot log in with the password just set");
    }
    if (enforce) {
      remember(saved);
    }
  };
  const create = () => {
    const record = new Record($app.findCollectionByNameOrId("_superusers"));
    record.setEmail(email);
    save(record);
  };

  // Deletes the generated account once another one is configured; if its password was changed, a
  // user owns it, and it stays.
  const retire = () => {
    const made_up = $os.getenv("CORE_POCKETBASE_MADE_UP_EMAIL");
    const first_password = $os.getenv("CORE_POCKETBASE_MADE_UP_PASSWORD");
    if (!made_up || made_up === email) {
      return "";
    }
    let record = null;
    try {
      record = $app.findAuthRecordByEmail("_superusers", made_up);
    } catch (_) {
      return "";
    }
    hashings += 1;
    if (!record.validatePassword(first_password)) {
      return "kept";
    }
    $app.delete(record);
    return "ended";
  };

  let made_up = "";
  if (enforce) {
    // Compare first: setting a password, even the same one, ends every session.
    const record = find();
    if (!record) {
      create();
    } else if (!matches(record)) {
      save(record);
    }
    made_up = retire();
  } else {
    // The account of PocketBase's own installer is not a superuser of the user.
    const others = $dbx.not($dbx.hashExp({ email: "__pbinstaller@example.com" }));
    if ($app.countRecords("_superusers", others) === 0) {
      create();
    }
  }
  $app.store().set("core.superuser", true);
  $app.store().set("core.superuser.ours", find() !== null);
  $app.store().set("core.superuser.made_up", made_up);
  $app.store().set("core.superuser.hashings", hashings);
});

// Answers 200 once the superuser exists; not written to the request log.
routerAdd(
  "GET",
  "/core/ready",
  () => {
    throw new NotFoundError();
  },
  new Middleware((e) => {
    const superuser = $app.store().get("core.superuser") === true;
    return e.json(superuser ? 200 : 503, {
      superuser: superuser,
      ours: $app.store().get("core.superuser.ours") === true,
      made_up: $app.store().get("core.superuser.made_up") || "",
      hashings: $app.store().get("core.superuser.hashings") || 0,
      instance: $os.getenv("CORE_POCKETBASE_INSTANCE"),
    });
  }, Number.MIN_SAFE_INTEGER),
);
