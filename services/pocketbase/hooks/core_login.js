/// Shared by the handlers of `core_login.pb.js`: the failed guesses of each address. Written by the
/// wrapper; do not edit.

// Failures within a window, and concurrent guesses.
const FAILURES_MAX = 10;
const WINDOW_MS = 60 * 1000;
const PENDING_MAX = 50;
// Number of addresses that are counted separately; all others share one count.
const ADDRESSES_MAX = 1000;
const OTHERS = "others";
const KEY = "core.login.guesses";

// Returns the address of a client. What a proxy says about its client counts only from this
// machine, where Caddy runs: any other client could send any address.
const client = (e) => {
  const peer = e.remoteIP();
  const local =
    peer.startsWith("127.") || peer === "::1" || peer === $os.getenv("CORE_POCKETBASE_HOST");
  let address = peer;
  if (local) {
    const is_configured = $app.settings().trustedProxy.headers.length > 0;
    address = is_configured ? e.realIP() : e.request.header.get("X-Real-Ip") || peer;
  }
  // A client with one IPv6 address has the whole network of 64 bits: its first four groups.
  if (!address.includes(":") || address.includes(".")) {
    return address;
  }
  const [head, tail] = address.split("::");
  const groups = head.split(":").filter((group) => group !== "");
  const rest = tail ? tail.split(":") : [];
  while (address.includes("::") && groups.length + rest.length < 8) {
    groups.push("0");
  }
  return groups.concat(rest).slice(0, 4).join(":") + "::/64";
};

// Changes the entry of an address atomically; returns the name of the entry. The store holds the
// table as text, as each handler has values of its own.
const update = (address, change) => {
  let name = address;
  $app.store().setFunc(KEY, (old) => {
    const now = Date.now();
    const table = JSON.parse(old || "{}");
    // A clock that was set back ends a window, too.
    const is_over = (entry) => now < entry.since || now - entry.since >= WINDOW_MS;
    for (const known of Object.keys(table)) {
      if (table[known].pending === 0 && is_over(table[known])) {
        delete table[known];
      }
    }
    const has_room = table[address] || Object.keys(table).length < ADDRESSES_MAX;
    name = has_room ? address : OTHERS;
    const entry = table[name] || { since: now, failures: 0, pending: 0 };
    if (is_over(entry)) {
      entry.since = now;
      entry.failures = 0;
    }
    change(entry);
    if (entry.failures > 0 || entry.pending > 0) {
      table[name] = entry;
    } else {
      delete table[name];
    }
    return JSON.stringify(table);
  });
  return name;
};

module.exports = {
  // Admits a guess, or refuses it without comparing the password.
  limited: (e) => {
    let passes = false;
    const name = update(client(e), (entry) => {
      passes = entry.failures < FAILURES_MAX && entry.pending < PENDING_MAX;
      entry.pending += passes ? 1 : 0;
    });
    if (!passes) {
      throw new TooManyRequestsError("Too many failed logins; try again in a minute.");
    }
    let failed = true;
    try {
      e.next();
      failed = false;
    } finally {
      // Under the same name: an entry with pending guesses is kept.
      update(name, (entry) => {
        entry.pending = Math.max(0, entry.pending - 1);
        entry.failures += failed ? 1 : 0;
      });
    }
  },
};
