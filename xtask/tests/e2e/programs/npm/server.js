// A server as `npm run dev` starts one: npm, a shell and node, none of which passes signals on.
const fs = require("fs");
const http = require("http");
const path = require("path");

const pids = process.env.PIDS;

function stat(pid) {
  return fs.readFileSync(`/proc/${pid}/stat`, "utf8");
}

// The state and the start time of a process, which stand behind its name in parentheses.
function fields(text) {
  const words = text.slice(text.lastIndexOf(")") + 2).split(" ");
  return { state: words[0], start: words[19] };
}

// Whatever an earlier start left alive at this moment is written down.
for (const name of fs.readdirSync(pids)) {
  if (!/^\d+$/.test(name)) continue;
  try {
    const now = fields(stat(name));
    const then = fields(fs.readFileSync(path.join(pids, name), "utf8"));
    if (now.start === then.start && !"ZX".includes(now.state)) {
      fs.appendFileSync(path.join(pids, "overlaps"), `${process.pid} began beside ${name}\n`);
    }
  } catch {
    // It ended meanwhile.
  }
}
const half = path.join(pids, `.${process.pid}`);
fs.writeFileSync(half, stat("self"));
fs.renameSync(half, path.join(pids, `${process.pid}`));

http
  .createServer((request, response) => {
    response.end(`${process.pid} ${process.env.GENERATION}\n`);
  })
  .listen(Number(process.env.PORT), "127.0.0.1");
