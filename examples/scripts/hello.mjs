// Greets who is named in the input: cronium run examples/scripts/hello.mjs --input who=Ada
import cronium from "cronium";

const who = (await cronium.input())?.who ?? "world";
console.log(`Hello, ${who}!`);
await cronium.output({ greeted: who });
