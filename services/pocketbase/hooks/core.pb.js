/// Core's own hook: the superuser and the readiness route. Written by the wrapper; not to edit.
/// Handlers run isolated from each other, so each reads the environment by itself.
///
/// Routes of Core's are answered by a middleware that comes before all others, and never by their
/// handler: no rate limit, no middleware and no hook of the user may make a server look ill.

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

  // The account that was made up ends once another one is named; one whose password was changed is
  // somebody's, and stays.
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
    // A comparison first: setting a password, even the same one, ends every session.
    const record = find();
    if (!record) {
      create();
    } else if (!record.validatePassword(password)) {
      save(record);
    }
    made_up = retire();
  } else {
    // The account that PocketBase's own installer uses is no superuser of anybody's.
    const others = $dbx.not($dbx.hashExp({ email: "__pbinstaller@example.com" }));
    if ($app.countRecords("_superusers", others) === 0) {
      create();
    }
  }
  $app.store().set("core.superuser", true);
  $app.store().set("core.superuser.ours", find() !== null);
  $app.store().set("core.superuser.made_up", made_up);
});

// Answers 200 once the superuser is there; not written to the request log.
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
