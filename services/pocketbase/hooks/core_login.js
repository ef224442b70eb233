/// What the handlers of `core_login.pb.js` share: who has guessed how often. Written by the wrapper;
/// not to edit.

// Failures within a window, and guesses at the same time.
const FAILURES_MAX = 10;
const WINDOW_MS = 60 * 1000;
const PENDING_MAX = 50;
// So many addresses are told apart; all others share what is left to them.
const ADDRESSES_MAX = 1000;
const OTHERS = "others";
const KEY = "core.login.guesses";

// Whose guess it is. What a proxy says of its client counts only from this machine, where Caddy
// runs: from elsewhere anybody could say anything.
const client = (e) => {
  const peer = e.remoteIP();
  const local =
    peer.startsWith("127.") || peer === "::1" || peer === $os.getenv("CORE_POCKETBASE_HOST");
  let address = peer;
  if (local) {
    const is_configured = $app.settings().trustedProxy.headers.length > 0;
    address = is_configured ? e.realIP() : e.request.header.get("X-Real-Ip") || peer;
  }
  // Whoever has one IPv6 address has the whole network of 64 bits: its first four groups.
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

// Changes what is known of an address, in one step whoever else does; returns under which name that
// is. The store has the text of a table, as each handler has values of its own.
const update = (address, change) => {
  let name = address;
  $app.store().setFunc(KEY, (old) => {
    const now = Date.now();
    const table = JSON.parse(old || "{}");
    // A clock that was put back ends a window, too.
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
  // Lets a guess pass, or refuses it without looking at it.
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
      // Under the same name: while something is pending, it is not forgotten.
      update(name, (entry) => {
        entry.pending = Math.max(0, entry.pending - 1);
        entry.failures += failed ? 1 : 0;
      });
    }
  },
};
