// Greets who is named in the input: cronium run examples/scripts/hello.cjs --input who=Ada
const cronium = require("cronium");

async function main() {
  const who = (await cronium.input())?.who ?? "world";
  console.log(`Hello, ${who}!`);
  await cronium.output({ greeted: who });
}

main();
