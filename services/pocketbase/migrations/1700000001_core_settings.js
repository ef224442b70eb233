/// Core's base settings, applied once; later changes in the UI stay.
/// - Only errors go to the request log: each health check would be a row otherwise.
/// - Batch requests are on: they are PocketBase's transactions.
/// - Behind Caddy the client's address is in X-Real-IP, which Caddy always sets itself.
migrate((app) => {
  const settings = app.settings();
  settings.logs.minLevel = 4;
  settings.batch.enabled = true;
  settings.trustedProxy.headers = ["X-Real-IP"];
  app.save(settings);
}, null);
