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
  const find = () => {
    try {
      return $app.findAuthRecordByEmail("_superusers", email);
    } catch (_) {
      return null;
    }
  };
  const save = (record) => {
    record.setPassword(password);
    $app.save(record);
    if (!find().validatePassword(password)) {
      throw new Error("the superuser cannot log in with the password just set");
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
    } else if (!record.validatePassword(password)) {
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
      instance: $os.getenv("CORE_POCKETBASE_INSTANCE"),
    });
  }, Number.MIN_SAFE_INTEGER),
);
