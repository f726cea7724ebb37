/**
 * Finds and loads the configuration.
 *
 * @since 0.1.0
 */
import * as Effect from "effect/Effect"
import * as FileSystem from "effect/FileSystem"
import * as Option from "effect/Option"
import * as Path from "effect/Path"
import * as Predicate from "effect/Predicate"
import { pathToFileURL } from "node:url"
import * as EvsrcConfig from "../EvsrcConfig.ts"
import { WrongUse } from "../ExitCode.ts"
import * as Root from "../Root.ts"

/** The names of a configuration file, in the order of the search. */
const names = ["evsrc.config.ts", "evsrc.config.mts", "evsrc.config.js", "evsrc.config.mjs"]

/** The user's module may wait in a top-level `await`. */
const loadTimeout = "30 seconds"

const fail = (detail: string) => Effect.fail(new WrongUse({ detail }))

/** Returns the path of the configuration; none if there is none. */
const find = Effect.gen(function*() {
  const fs = yield* FileSystem.FileSystem
  const path = yield* Path.Path
  const { config } = yield* Root.root
  if (Option.isSome(config)) {
    const file = path.resolve(config.value)
    return (yield* fs.exists(file))
      ? Option.some(file)
      : yield* fail(`The configuration ${file} does not exist; correct --config`)
  }
  for (let folder = path.resolve(".");;) {
    for (const name of names) {
      const file = path.join(folder, name)
      if (yield* fs.exists(file)) return Option.some(file)
    }
    const above = path.dirname(folder)
    if (above === folder) return Option.none()
    folder = above
  }
})

const textOf = (error: unknown): string => error instanceof Error ? `${error.name}: ${error.message}` : String(error)

/** What to do about an error of Node's own. */
const adviceOf = (error: unknown): string => {
  const code = Predicate.hasProperty(error, "code") ? error.code : undefined
  const missing = /^Cannot find package '([^']+)'/.exec(error instanceof Error ? error.message : "")?.[1]
  if (missing !== undefined) return `. Install the package in the project, by: npm install ${missing}`
  return code === "ERR_UNSUPPORTED_TYPESCRIPT_SYNTAX"
    ? ". Node only strips types, and cannot run TypeScript syntax that generates code, such as an enum or a namespace: write plain JavaScript instead"
    : code === "ERR_UNKNOWN_FILE_EXTENSION"
    ? ". This version of Node does not run TypeScript: use Node 22.19 or later, or a .js file"
    : code === "ERR_MODULE_NOT_FOUND"
    ? ". Node resolves imports as they are written: give the whole name of a file, such as ./orders.ts"
    : ""
}

const load = Effect.fnUntraced(function*(file: string) {
  const module = yield* Effect.tryPromise({
    // oxlint-disable-next-line evsrc/layers -- the user's file, whose name is known only now
    try: (): Promise<unknown> => import(pathToFileURL(file).href),
    catch: (error) =>
      new WrongUse({ detail: `The configuration ${file} cannot be loaded: ${textOf(error)}${adviceOf(error)}` })
  }).pipe(
    Effect.timeoutOrElse({
      duration: loadTimeout,
      orElse: () =>
        fail(
          `The configuration ${file} was not loaded within ${loadTimeout}; its top level must not wait for a database`
        )
    })
  )
  const config = Predicate.hasProperty(module, "default") ? module.default : undefined
  return EvsrcConfig.isEvsrcConfig(config)
    ? config
    : yield* fail(
      `The configuration ${file} has a default export that is not a configuration, or none; write: export default EvsrcConfig.make({ … })`
    )
})

/**
 * A configuration, and its file.
 *
 * @since 0.1.0
 * @category models
 */
export interface Loaded {
  readonly file: string
  readonly config: EvsrcConfig.EvsrcConfig
}

/**
 * Returns the configuration; none if there is no file.
 *
 * @since 0.1.0
 * @category accessors
 */
export const optional = Effect.gen(function*() {
  const file = yield* find
  if (Option.isNone(file)) return Option.none<Loaded>()
  return Option.some<Loaded>({ file: file.value, config: yield* load(file.value) })
})

/**
 * Returns the configuration. Fails if there is no file; `what` says what the command needs of it.
 *
 * @since 0.1.0
 * @category accessors
 */
export const required = (what: string) =>
  Effect.flatMap(optional, (loaded) =>
    Option.isSome(loaded) ? Effect.succeed(loaded.value) : fail(
      `This command needs ${what}; write an evsrc.config.ts whose default export is EvsrcConfig.make({ … }), or give its path by --config`
    ))
