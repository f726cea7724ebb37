/**
 * The name by which an operator finds this process.
 *
 * @since 0.1.0
 */
import * as Predicate from "effect/Predicate"

/**
 * Returns the host and the pid of this process, as `shop-7d9f:4711`; undefined where there is none, as in a browser. Deno asks the user for the right to read
 * the host, so there the name is the pid alone.
 *
 * @since 0.1.0
 * @category accessors
 */
export const processName = (): string | undefined => {
  const process: unknown = Reflect.get(globalThis, "process")
  if (!Predicate.hasProperty(process, "pid")) return undefined
  const host = "Deno" in globalThis ? undefined : hostOf(process)
  return `${host === undefined ? "" : `${host}:`}${String(process.pid)}`
}

const hostOf = (process: object): string | undefined => {
  if (!Predicate.hasProperty(process, "getBuiltinModule") || typeof process.getBuiltinModule !== "function") {
    return undefined
  }
  const os: unknown = process.getBuiltinModule("node:os")
  return Predicate.hasProperty(os, "hostname") && typeof os.hostname === "function" ? String(os.hostname()) : undefined
}
