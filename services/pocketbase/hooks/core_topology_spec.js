/// Core's own module: checks a specification of the topology, and derives the state of a record.
/// Written by the wrapper; do not edit. The controller decides in the end, by the same rules
/// (`services/nats/src/topology/spec.rs`); a test compares the two.

const HUB_NODES_MIN = 3;
const HUB_NODES_MAX = 9;
const LEAF_NODES_MAX = 9;
const REGIONS_MAX = 32;
const REGION_DEFAULT = "local";
const NAME_MAX = 52;
const RESERVED = ["core", "hub"];
const STATES = ["pending", "applying", "applied", "failed"];
/// The longest text of a user in a message.
const SHOWN_MAX = 60;

const shown = (value) => {
  const text = typeof value === "string" ? value : String(JSON.stringify(value));
  return text.length > SHOWN_MAX ? text.slice(0, SHOWN_MAX) + "…" : text;
};

const isObject = (value) => {
  return value !== null && typeof value === "object" && !Array.isArray(value);
};

/// Returns the first error of a specification, as a sentence; "" if it is valid.
const problem = (text) => {
  let spec;
  try {
    spec = JSON.parse(text);
  } catch (_) {
    return "`spec` is not valid JSON";
  }
  if (!isObject(spec)) {
    return "`spec` must be a JSON object";
  }
  const keys = ["topology"];
  if (spec.topology === "hub-spoke") {
    keys.push("hub_region", "hub_nodes", "leaf_regions", "leaf_nodes_per_region");
  } else if (spec.topology !== "single-node") {
    return "`spec.topology` must be `single-node` or `hub-spoke`";
  }
  for (const key of Object.keys(spec)) {
    if (!keys.includes(key)) {
      return `\`spec.${shown(key)}\` is unknown; there are \`${keys.join("`, `")}\``;
    }
  }
  return spec.topology === "hub-spoke" ? problemOfHub(spec) : "";
};

const problemOfHub = (spec) => {
  const count = (key, max) => {
    const value = spec[key];
    const isCount = Number.isInteger(value) && value >= 1 && value <= max;
    return isCount ? "" : `\`spec.${key}\` must be a whole number, 1 to ${max}`;
  };
  const region = (key, value) => {
    if (typeof value !== "string") {
      return `\`spec.${key}\` must be a name`;
    }
    const isName = value.length <= NAME_MAX && /^[a-z0-9]([a-z0-9-]*[a-z0-9])?$/.test(value);
    if (!isName) {
      const form = `at most ${NAME_MAX} of a-z, 0-9 and -, which neither begins nor ends with -`;
      return `\`spec.${key}\` is \`${shown(value)}\`, and a name is ${form}`;
    }
    const isReserved = RESERVED.includes(value) && key !== "hub_region";
    return isReserved ? `\`spec.${key}\` is \`${value}\`, a name that Core uses itself` : "";
  };
  if (!("hub_nodes" in spec)) {
    return "`spec.hub_nodes` is missing";
  }
  const nodes = spec.hub_nodes;
  let found = count("hub_nodes", HUB_NODES_MAX);
  if (!found && (nodes < HUB_NODES_MIN || nodes % 2 !== 1)) {
    const rule = `a hub has ${HUB_NODES_MIN} nodes or more, an odd number`;
    found = `\`spec.hub_nodes\` is ${nodes}, but ${rule}`;
  }
  if (!found && "leaf_nodes_per_region" in spec) {
    found = count("leaf_nodes_per_region", LEAF_NODES_MAX);
  }
  if (!found && "hub_region" in spec) {
    found = region("hub_region", spec.hub_region);
  }
  if (found || !("leaf_regions" in spec)) {
    return found;
  }
  const regions = spec.leaf_regions;
  if (!Array.isArray(regions)) {
    return "`spec.leaf_regions` must be a list of names";
  }
  if (regions.length > REGIONS_MAX) {
    return `\`spec.leaf_regions\` names more than ${REGIONS_MAX} regions`;
  }
  const hub = "hub_region" in spec ? spec.hub_region : REGION_DEFAULT;
  const seen = [];
  for (let index = 0; index < regions.length; index++) {
    const key = `leaf_regions[${index}]`;
    const name = regions[index];
    found = region(key, name);
    if (!found && name === hub) {
      found = `\`spec.${key}\` is \`${name}\`, which is the region of the hub`;
    }
    if (!found && seen.includes(name)) {
      found = `\`spec.${key}\` names \`${name}\` again`;
    }
    if (found) {
      return found;
    }
    seen.push(name);
  }
  // The second node of `a` and the first of `a-2` would be the same process.
  const perRegion = "leaf_nodes_per_region" in spec ? spec.leaf_nodes_per_region : 1;
  const processes = [];
  for (const name of seen) {
    for (let node = 1; node <= perRegion; node++) {
      const process = node === 1 ? name : `${name}-${node}`;
      if (processes.includes(process)) {
        return `\`spec.leaf_regions\` would give two nodes the name \`${process}\``;
      }
      processes.push(process);
    }
  }
  return "";
};

module.exports = {
  /// Refuses to save a record with an invalid specification.
  check: (record) => {
    const sentence = problem(record.getString("spec"));
    if (sentence) {
      throw new BadRequestError(`The topology was not saved: ${sentence}.`, {
        spec: new ValidationError("core_topology_spec", sentence),
      });
    }
  },

  /// Shows the state of the record in separate fields: a change that the controller has not seen
  /// yet is pending.
  show: (record) => {
    let status = null;
    try {
      status = JSON.parse(record.getString("status"));
    } catch (_) {
      // Missing, or not written by the controller.
    }
    const current = isObject(status) && status.generation === record.getInt("generation");
    const known = current && STATES.includes(status.state);
    record.set("state", known ? status.state : "pending");
    record.set("message", known && typeof status.message === "string" ? status.message : "");
  },
};
