/// The state of a topology's record in separate fields: `state` and `message` of its status, which
/// a list of records shows. Only the hook writes them.
migrate(
  (app) => {
    const collection = app.findCollectionByNameOrId("core_topology");
    const states = ["pending", "applying", "applied", "failed"];
    collection.fields.add(new SelectField({ name: "state", values: states, maxSelect: 1 }));
    collection.fields.add(new TextField({ name: "message", max: 20000 }));
    app.save(collection);
    app
      .db()
      .newQuery(
        `UPDATE core_topology SET
           state = json_extract(status, '$.state'),
           message = coalesce(json_extract(status, '$.message'), '')
         WHERE json_valid(status) AND json_type(status) = 'object'
           AND json_extract(status, '$.generation') = generation
           AND json_extract(status, '$.state') IN ('pending', 'applying', 'applied', 'failed')`,
      )
      .execute();
    app.db().newQuery("UPDATE core_topology SET state = 'pending' WHERE state = ''").execute();
  },
  (app) => {
    const collection = app.findCollectionByNameOrId("core_topology");
    collection.fields.removeByName("state");
    collection.fields.removeByName("message");
    app.save(collection);
  },
);
