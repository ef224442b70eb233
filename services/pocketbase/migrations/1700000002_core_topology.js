/// Core's own collections: the requested topology, its status, and the writers.
/// - core_controllers: the account of the controller. It has no login; its tokens come from
///   `POST /core/token`.
/// - core_topology: one record per service. core_topology_history: applied and failed changes.
/// - core_probe: written and read by checks of a running stack.
migrate(
  (app) => {
    const has = (name) => {
      try {
        return app.findCollectionByNameOrId(name) !== null;
      } catch (_) {
        return false;
      }
    };
    const add = (collection) => has(collection.name) || app.save(new Collection(collection));

    const controller = '@request.auth.collectionName = "core_controllers"';
    const service = {
      type: "text",
      name: "service",
      required: true,
      max: 52,
      pattern: "^[a-z]([a-z0-9-]*[a-z0-9])?$",
      presentable: true,
    };
    const origin = (required) => {
      return { type: "select", name: "origin", values: ["manifest", "user"], required: required };
    };
    const json = (name) => {
      return { type: "json", name: name, maxSize: 65536 };
    };
    const generation = { type: "number", name: "generation", onlyInt: true, min: 0 };
    const created = { type: "autodate", name: "created", onCreate: true };
    const updated = { type: "autodate", name: "updated", onCreate: true, onUpdate: true };

    // Its password is random and never used, so making one should not cost time.
    const password = {
      type: "password",
      name: "password",
      system: true,
      hidden: true,
      required: true,
      min: 8,
      cost: 4,
    };
    add({
      type: "auth",
      name: "core_controllers",
      authRule: null,
      passwordAuth: { enabled: false },
      oauth2: { enabled: false },
      otp: { enabled: false },
      mfa: { enabled: false },
      authAlert: { enabled: false },
      authToken: { duration: 3600 },
      fields: [password, created, updated],
    });
    add({
      type: "base",
      name: "core_topology",
      listRule: controller,
      viewRule: controller,
      createRule: controller,
      updateRule: controller,
      fields: [
        service,
        json("spec"),
        origin(true),
        { type: "bool", name: "move_streams" },
        generation,
        json("status"),
        created,
        updated,
      ],
      indexes: ["CREATE UNIQUE INDEX `idx_core_topology_service` ON `core_topology` (`service`)"],
    });
    add({
      type: "base",
      name: "core_topology_history",
      listRule: controller,
      viewRule: controller,
      createRule: controller,
      fields: [
        service,
        generation,
        origin(true),
        json("spec"),
        { type: "select", name: "state", values: ["applied", "failed"], required: true },
        { type: "text", name: "message", max: 20000 },
        created,
      ],
      indexes: [
        "CREATE INDEX `idx_core_topology_history` ON `core_topology_history` (`service`, `created`)",
      ],
    });
    add({
      type: "base",
      name: "core_probe",
      listRule: controller,
      viewRule: controller,
      createRule: controller,
      updateRule: controller,
      deleteRule: controller,
      fields: [
        { type: "text", name: "run", required: true, max: 100 },
        { type: "number", name: "value" },
        created,
        updated,
      ],
    });
  },
  (app) => {
    for (const name of [
      "core_probe",
      "core_topology_history",
      "core_topology",
      "core_controllers",
    ]) {
      app.delete(app.findCollectionByNameOrId(name));
    }
  },
);
