/**
 * `npm start`: runs the program with a cache of compiled code, which a second start uses.
 */
import { enableCompileCache } from "node:module"

enableCompileCache("node_modules/.cache/node")
await import("./main.ts")
