/** Runs in the container that installs packages for Node, with the image's own npm: npm, then what came of it. */
"use strict";

const fs = require("fs");
const path = require("path");
const { spawnSync } = require("child_process");

const [target, scripts, ...requirements] = process.argv.slice(1);
process.exitCode = main();

/** `scripts` "1": packages may run code of their own. */
function main() {
  process.umask(0); // whoever keeps the packages has another account, and must be able to remove them
  fs.writeFileSync(path.join(target, "package.json"), "{}\n"); // without one npm looks for one in the directories above
  const quiet = ["--no-audit", "--no-fund", "--no-update-notifier", "--no-progress", "--loglevel=warn"];
  const patience = ["--fetch-retries=2", "--fetch-retry-mintimeout=1000", "--fetch-retry-maxtimeout=5000"];
  const wanted = [...(scripts === "1" ? [] : ["--ignore-scripts"]), "--", ...requirements];
  // In the directory, not with --prefix: that would make npm pass over the image's own settings.
  const done = spawnSync("npm", ["install", "--cache=/tmp/npm", ...quiet, ...patience, ...wanted], {
    cwd: target,
    stdio: ["ignore", "inherit", "inherit"],
  });
  if (done.error) {
    process.stdout.write(`npm error cannot run npm: ${done.error.message}\n`);
    return 127;
  }
  if (done.status !== 0) return 1;
  openUp(target);
  process.stdout.write(`\ncronium-packages:${JSON.stringify(resolved())}\n`);
  return 0;
}

function resolved() {
  const found = {};
  const lock = JSON.parse(fs.readFileSync(path.join(target, "node_modules", ".package-lock.json"), "utf8"));
  for (const [place, one] of Object.entries(lock.packages)) {
    const name = place.slice(place.lastIndexOf("node_modules/") + "node_modules/".length);
    found[name] = found[name] && found[name] !== one.version ? `${found[name]}, ${one.version}` : one.version;
  }
  return found;
}

/** A package may bring directories that only their owner can enter. */
function openUp(directory) {
  for (const entry of fs.readdirSync(directory, { withFileTypes: true })) {
    if (!entry.isDirectory()) continue;
    const inside = path.join(directory, entry.name);
    fs.chmodSync(inside, 0o777);
    openUp(inside);
  }
}
