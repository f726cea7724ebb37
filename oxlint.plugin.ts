/**
 * Lint rules of this repository that oxlint does not provide.
 */
import { dirname, relative, resolve, sep } from "node:path"
import type { RuleTester } from "oxlint/plugins-dev"

// oxlint exports no other types for plugins.
type Rule = Exclude<Parameters<RuleTester["run"]>[1], { createOnce: unknown }>
type Visitor = ReturnType<Rule["create"]>
type Node = Parameters<NonNullable<Visitor["TSExternalModuleReference"]>>[0]["parent"]

interface Layer {
  /** The other folders of `src` that it may import; "all" for the entry points. */
  readonly folders: ReadonlyArray<string> | "all"
  readonly packages: ReadonlyArray<string>
  readonly builtins: boolean
}

/** The folders of the core in layer order: a folder imports only folders before it. docs/project.md describes each folder. */
const order = [
  "core",
  "personalData",
  "event",
  "snapshot",
  "eventStore",
  "command",
  "query",
  "archive",
  "decision",
  "aggregate",
  "consumer",
  "projection",
  "subscription",
  "operations",
  "process",
  "history",
  "timeTravel",
  "transfer",
  "erasure"
] as const

/** The allowed imports of each folder of `src`, and of each file directly in `src`. */
const layers: Readonly<Record<string, Layer>> = {
  ...Object.fromEntries(
    order.map((folder, index) => [folder, { folders: order.slice(0, index), packages: ["effect"], builtins: false }])
  ),
  "domain": { folders: order, packages: [], builtins: false },
  "pg": { folders: "all", packages: ["effect", "@effect/sql-pg"], builtins: true },
  "pglite": { folders: "all", packages: ["effect", "@effect/sql-pg", "@electric-sql/pglite"], builtins: true },
  "http": { folders: order, packages: ["effect"], builtins: false },
  "promise": { folders: order, packages: ["effect"], builtins: false },
  "testing": { folders: "all", packages: ["effect"], builtins: false },
  "conformance": { folders: "all", packages: ["effect"], builtins: false },
  "cli": { folders: "all", packages: ["effect", "@effect/sql-pg", "@effect/platform-node"], builtins: true },
  "index.ts": { folders: order, packages: [], builtins: false }
}

/** Files with data and pure functions only. They import no service, so that decisions can be tested without a store. */
const pureFiles = [
  "aggregate/AggregateDefinition.ts",
  "aggregate/Decider.ts",
  "command/Command.ts",
  "consumer/Consumer.ts",
  "consumer/ConsumerDefinition.ts",
  "decision/DecisionDefinition.ts",
  "decision/ModelParts.ts",
  "domain/index.ts",
  "projection/list/IndexDefinition.ts",
  "projection/ProjectionDefinition.ts",
  "query/Query.ts",
  "snapshot/SnapshotPolicy.ts",
  "snapshot/StateSnapshots.ts"
]
const pureFolders = ["core", "event"]

/** The files of personalData that are not services. */
const pureModules = [
  "personalData/FieldAnnotation.ts",
  "personalData/JsonCodec.ts",
  "personalData/PersonalData.ts",
  "personalData/PersonalFields.ts",
  "personalData/SchemaFailure.ts",
  "personalData/EncryptedValue.ts"
]

const src = resolve(import.meta.dirname, "src")

const pathIn = (path: string): string => relative(src, path).split(sep).join("/")

const folderOf = (path: string): string => pathIn(path).split("/")[0]!

const isPure = (path: string): boolean =>
  pureFiles.includes(path) || pureModules.includes(path) || pureFolders.includes(path.split("/")[0]!)

const violation = (file: string, specifier: string): string | undefined => {
  const from = folderOf(file)
  const layer = layers[from]
  if (layer === undefined) {
    return `src/${from} is not in the folder order: add it to the order in oxlint.plugin.ts`
  }
  if (specifier.startsWith(".")) {
    const target = resolve(dirname(file), specifier)
    const to = folderOf(target)
    if (to === "..") return `src/${from} may not import anything outside src`
    const isAllowed = to === from || (layer.folders === "all" ? layers[to] !== undefined : layer.folders.includes(to))
    if (!isAllowed) {
      return `src/${from} may not import src/${to}: a folder imports only folders before it in the order of oxlint.plugin.ts`
    }
    if (target.endsWith(`${sep}index.ts`)) return "inside src, import the module itself and not a barrel"
    return pureFiles.includes(pathIn(file)) && !isPure(pathIn(target))
      ? `${pathIn(file)} is data and pure functions, so it may not import ${pathIn(target)}`
      : undefined
  }
  if (specifier.startsWith("node:")) {
    return layer.builtins ? undefined : `src/${from} may not import Node's own modules`
  }
  return layer.packages.some((name) => specifier === name || specifier.startsWith(`${name}/`))
    ? undefined
    : `src/${from} may not import the package ${specifier}`
}

/** Checks every form of import: import, export from, import(), require(), and import types. */
const layerOrder: Rule = {
  create(context) {
    if (relative(src, context.filename).startsWith("..")) return {}
    const check = (node: Node, source: Node | null | undefined) => {
      if (source === null || source === undefined) return
      const message = source.type === "Literal" && typeof source.value === "string"
        ? violation(context.filename, source.value)
        : "the module name is not a string literal; write it as one"
      if (message !== undefined) context.report({ node, message })
    }
    return {
      ImportDeclaration: (node) => check(node, node.source),
      ExportNamedDeclaration: (node) => check(node, node.source),
      ExportAllDeclaration: (node) => check(node, node.source),
      ImportExpression: (node) => check(node, node.source),
      TSImportType: (node) => check(node, node.source),
      TSImportEqualsDeclaration: (node) =>
        check(node, node.moduleReference.type === "TSExternalModuleReference" ? node.moduleReference.expression : null),
      CallExpression: (node) => {
        if (node.callee.type === "Identifier" && node.callee.name === "require") check(node, node.arguments[0])
      }
    }
  }
}

/** Rejects `x as unknown as T`, which lets any value pass as any type. */
const noDoubleCast: Rule = {
  create: (context) => ({
    TSAsExpression(node) {
      if (node.expression.type !== "TSAsExpression") return
      if (["TSUnknownKeyword", "TSAnyKeyword", "TSNeverKeyword"].includes(node.expression.typeAnnotation.type)) {
        context.report({
          node,
          message:
            "a cast through unknown, any or never bypasses the type check; remove it, or disable the rule with a reason"
        })
      }
    }
  })
}

/** Requires a reason in every comment that disables a rule: `// oxlint-disable-next-line rule -- reason`. */
const disableNeedsReason: Rule = {
  create: (context) => ({
    Program() {
      for (const comment of context.sourceCode.getAllComments()) {
        if (/^\s*(ox|es)lint-disable/.test(comment.value) && !/\s--\s+\S/.test(comment.value)) {
          context.report({
            node: comment,
            message: "the comment disables a rule without a reason; add `-- reason` after the rule name"
          })
        }
      }
    }
  })
}

/** The functions and Schemas of Effect that call `JSON.parse`. */
const effectParsers = ["fromJsonString", "UnknownFromJsonString"]

/** Rejects every use of `JSON.parse` in `src`, because V8 may read a key with an escape as another one. */
const parseJsonOnly: Rule = {
  create(context) {
    if (relative(src, context.filename).startsWith("..")) return {}
    return {
      Identifier(node) {
        const { parent } = node
        const isStringify = parent.type === "MemberExpression" && parent.object === node && !parent.computed
          && parent.property.type === "Identifier" && parent.property.name === "stringify"
        const isParser = effectParsers.includes(node.name)
          || (node.name === "parseJson" && parent.type === "MemberExpression")
        if ((node.name !== "JSON" || isStringify) && !isParser) return
        context.report({
          node,
          message: "JSON.parse may read a key with an escape as another one; use parseJson or fromJsonText of core/json"
        })
      }
    }
  }
}

export default {
  meta: { name: "evsrc" },
  rules: {
    layers: layerOrder,
    "no-double-cast": noDoubleCast,
    "disable-needs-reason": disableNeedsReason,
    "parse-json": parseJsonOnly
  }
}
