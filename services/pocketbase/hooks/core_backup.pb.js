/// Core's own hook: routes for `cargo xtask backup` and `restore`. Written by the wrapper; do not
/// edit. Callers must know the secret of this start. Handlers run isolated from each other: each
/// defines what it uses.

// Makes a backup. Its database is a snapshot of one moment, despite concurrent writes.
routerAdd(
  "POST",
  "/core/backup",
  () => {
    throw new NotFoundError();
  },
  new Middleware((e) => {
    const secret = $os.getenv("CORE_POCKETBASE_CONTROLLER_SECRET");
    const given = e.request.header.get("X-Core-Secret");
    if (!secret || !$security.equal(given, secret)) {
      throw new UnauthorizedError("this is not the secret of this start");
    }
    const name = e.requestInfo().body.name;
    if (!/^core-tmp-[a-z0-9]{1,64}\.zip$/.test(name)) {
      throw new BadRequestError("this is not a name of a backup of Core's");
    }
    const settings = $app.settings();
    if (settings.backups.s3.enabled) {
      throw new BadRequestError("PocketBase keeps its backups at S3, not on this machine");
    }
    $app.createBackup(new Context(), name);
    return e.json(200, { files_elsewhere: settings.s3.enabled });
  }, Number.MIN_SAFE_INTEGER),
);

// Returns the number of records that users made: a restore would replace them.
routerAdd(
  "GET",
  "/core/backup/holds",
  () => {
    throw new NotFoundError();
  },
  new Middleware((e) => {
    const secret = $os.getenv("CORE_POCKETBASE_CONTROLLER_SECRET");
    const given = e.request.header.get("X-Core-Secret");
    if (!secret || !$security.equal(given, secret)) {
      throw new UnauthorizedError("this is not the secret of this start");
    }
    const holds = [];
    for (const collection of $app.findAllCollections("base", "auth")) {
      const own = collection.system || collection.name.startsWith("core_");
      if (!own && $app.countRecords(collection) > 0) {
        holds.push(collection.name);
      }
    }
    return e.json(200, { collections: holds });
  }, Number.MIN_SAFE_INTEGER),
);

// Checks the database of a backup, unpacked beside this one: integrity and number of records. There
// is one connection that writes, so what is attached to it stays there.
routerAdd(
  "POST",
  "/core/backup/check",
  () => {
    throw new NotFoundError();
  },
  new Middleware((e) => {
    const secret = $os.getenv("CORE_POCKETBASE_CONTROLLER_SECRET");
    const given = e.request.header.get("X-Core-Secret");
    if (!secret || !$security.equal(given, secret)) {
      throw new UnauthorizedError("this is not the secret of this start");
    }
    const file = $filepath.join($app.dataDir(), "..", "staged", "pb_data", "data.db");
    $os.stat(file);
    const db = $app.nonconcurrentDB();
    const rows = {};
    const problems = [];
    // A database that SQLite cannot read at all is as damaged as one with errors.
    try {
      db.newQuery("ATTACH DATABASE {:file} AS core_staged").bind({ file: file }).execute();
    } catch (error) {
      return e.json(200, { rows: rows, problems: [String(error)] });
    }
    try {
      const found = arrayOf(new DynamicModel({ integrity_check: "" }));
      db.newQuery("PRAGMA core_staged.integrity_check").all(found);
      for (const line of found) {
        if (line.integrity_check !== "ok") {
          problems.push(line.integrity_check);
        }
      }
      const tables = arrayOf(new DynamicModel({ name: "" }));
      const list = "SELECT name FROM core_staged.sqlite_master WHERE type = 'table'";
      db.newQuery(list).all(tables);
      for (const table of tables) {
        const count = new DynamicModel({ n: 0 });
        const quoted = table.name.replaceAll('"', '""');
        db.newQuery(`SELECT COUNT(*) AS n FROM core_staged."${quoted}"`).one(count);
        rows[table.name] = count.n;
      }
    } catch (error) {
      problems.push(String(error));
    } finally {
      db.newQuery("DETACH DATABASE core_staged").execute();
    }
    return e.json(200, { rows: rows, problems: problems });
  }, Number.MIN_SAFE_INTEGER),
);
