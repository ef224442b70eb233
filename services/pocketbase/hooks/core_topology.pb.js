/// Core's own hook: the rules of the topology's record, and the controller's token. Written by the
/// wrapper; do not edit. Handlers run isolated from each other: each defines what it uses.

// Returns a token of the controller's account to a caller with the secret of this start. No
// password is compared, so it is quick and independent of any superuser's password.
routerAdd(
  "POST",
  "/core/token",
  () => {
    throw new NotFoundError();
  },
  new Middleware((e) => {
    const secret = $os.getenv("CORE_POCKETBASE_CONTROLLER_SECRET");
    const given = e.request.header.get("X-Core-Secret");
    if (!secret || !$security.equal(given, secret)) {
      throw new UnauthorizedError("this is not the secret of this start");
    }
    const collection = e.app.findCollectionByNameOrId("core_controllers");
    const id = "corecontroller0";
    let record = null;
    try {
      record = e.app.findRecordById(collection, id);
    } catch (_) {
      record = new Record(collection);
      record.set("id", id);
      record.setEmail("controller@core.local");
      record.setRandomPassword();
      e.app.save(record);
    }
    return e.json(200, {
      token: record.newAuthToken(),
      expires_seconds: collection.authToken.duration,
    });
  }, Number.MIN_SAFE_INTEGER),
);

// Callers that may not see the records get an error: an empty list would be wrong.
onRecordsListRequest(
  (e) => {
    if (!e.auth) {
      throw new UnauthorizedError("this needs a token");
    }
    e.next();
  },
  "core_topology",
  "core_topology_history",
  "core_probe",
);

// A declaration by a user belongs to the user, and is new.
onRecordCreateRequest((e) => {
  const topology = require(`${__hooks}/core_topology_spec.js`);
  const by_controller = !!e.auth && e.auth.collection().name === "core_controllers";
  if (!by_controller) {
    e.record.set("generation", 1);
    e.record.set("status", null);
    if (!e.record.getString("origin")) {
      e.record.set("origin", "user");
    }
    // Only a user's topology is checked here: the controller writes those of the manifest.
    const decides = e.record.getString("origin") === "user";
    if (decides && e.record.getString("service") === "nats") {
      topology.check(e.record);
    }
  }
  topology.show(e.record);
  e.next();
}, "core_topology");

// The rights: a user changes the specification and the origin, the controller the status; each
// change of the first two gets a new generation.
onRecordUpdateRequest((e) => {
  const topology = require(`${__hooks}/core_topology_spec.js`);
  const canonical = (value) => {
    if (Array.isArray(value)) {
      return value.map(canonical);
    }
    if (value === null || typeof value !== "object") {
      return value;
    }
    const sorted = {};
    for (const key of Object.keys(value).sort()) {
      sorted[key] = canonical(value[key]);
    }
    return sorted;
  };
  const spec_of = (record) => {
    const text = record.getString("spec");
    try {
      return JSON.stringify(canonical(JSON.parse(text)));
    } catch (_) {
      return text;
    }
  };
  const by_controller = !!e.auth && e.auth.collection().name === "core_controllers";
  const body = e.requestInfo().body;
  const given = Object.keys(body);
  const record = e.record;
  const app = e.app;
  app.runInTransaction((tx) => {
    // The record was read before the transaction: another client may have written since.
    const now = tx.findRecordById("core_topology", record.id);
    if (record.getString("service") !== now.getString("service")) {
      throw new BadRequestError("`service` cannot be changed: it says which service this is");
    }
    if (given.includes("if_generation") && body.if_generation !== now.getInt("generation")) {
      throw new ApiError(409, "this is not the generation that is to be changed");
    }
    for (const name of ["spec", "origin", "move_streams", "status"]) {
      const mine = name === "status" ? by_controller : true;
      // `+` and `-` are PocketBase's modifiers.
      if (!mine || !given.some((key) => key.replace(/[+-]/g, "") === name)) {
        record.set(name, now.get(name));
      }
    }
    const spec_changes = spec_of(record) !== spec_of(now);
    let origin_changes = record.getString("origin") !== now.getString("origin");
    if (spec_changes && !origin_changes && !by_controller) {
      record.set("origin", "user");
      origin_changes = now.getString("origin") !== "user";
    }
    // A change to an invalid specification is refused. The controller checks its own writes, and
    // must report the result of a record that already exists.
    const decides = record.getString("origin") === "user" && !by_controller;
    if (spec_changes && decides && record.getString("service") === "nats") {
      topology.check(record);
    }
    // A request to move streams, or to retry, requests again what may have been refused.
    const moves = record.getBool("move_streams") && !now.getBool("move_streams");
    const again = moves || (given.includes("retry") && body.retry === true);
    const step = spec_changes || origin_changes || again ? 1 : 0;
    record.set("generation", now.getInt("generation") + step);
    topology.show(record);
    e.app = tx;
    e.next();
  });
  e.app = app;
}, "core_topology");

// The history keeps the last changes of each service. By order, as times may be equal.
onRecordAfterCreateSuccess((e) => {
  const lines_max = 500;
  e.app
    .db()
    .newQuery(
      `DELETE FROM core_topology_history WHERE service = {:service} AND rowid <= (
         SELECT rowid FROM core_topology_history WHERE service = {:service}
         ORDER BY rowid DESC LIMIT 1 OFFSET ${lines_max})`,
    )
    .bind({ service: e.record.getString("service") })
    .execute();
  e.next();
}, "core_topology_history");
