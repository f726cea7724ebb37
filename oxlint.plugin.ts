/**
 * The rules of this repository that oxlint does not have itself.
 */
import { dirname, relative, resolve, sep } from "node:path"
import type { RuleTester } from "oxlint/plugins-dev"

// oxlint exports the types of a plugin in no other way.
type Rule = Exclude<Parameters<RuleTester["run"]>[1], { createOnce: unknown }>
type Visitor = ReturnType<Rule["create"]>
type Node = Parameters<NonNullable<Visitor["TSExternalModuleReference"]>>[0]["parent"]

interface Floor {
  /** The other directories of `src` it may import. */
  readonly floors: ReadonlyArray<string>
  readonly packages: ReadonlyArray<string>
  readonly builtins: boolean
}

/** Imports point down. An entry is a directory of `src`, or a file that lies in `src` itself. */
const house: Readonly<Record<string, Floor>> = {
  "domain": { floors: [], packages: ["effect"], builtins: false },
  "store": { floors: ["domain"], packages: ["effect"], builtins: false },
  "runtime": { floors: ["domain", "store"], packages: ["effect"], builtins: false },
  "testing": { floors: ["domain", "store", "runtime"], packages: ["effect"], builtins: false },
  "pg": { floors: ["domain", "store"], packages: ["effect", "@effect/sql-pg"], builtins: true },
  "pglite": {
    floors: ["domain", "store", "pg"],
    packages: ["effect", "@effect/sql-pg", "@electric-sql/pglite"],
    builtins: true
  },
  "index.ts": { floors: ["domain", "store", "runtime"], packages: [], builtins: false }
}

const src = resolve(import.meta.dirname, "src")

const floorOf = (path: string): string => relative(src, path).split(sep)[0]!

const offence = (file: string, specifier: string): string | undefined => {
  const from = floorOf(file)
  const floor = house[from]
  if (floor === undefined) {
    return `src/${from} has no place in the house: give it one in oxlint.plugin.ts`
  }
  if (specifier.startsWith(".")) {
    const target = resolve(dirname(file), specifier)
    const to = floorOf(target)
    if (to !== from && !floor.floors.includes(to)) {
      return `src/${from} may not import ${to === ".." ? "anything outside src" : `src/${to}`}`
    }
    return target.endsWith(`${sep}index.ts`) ? "inside src, import the module itself and not a barrel" : undefined
  }
  if (specifier.startsWith("node:")) {
    return floor.builtins ? undefined : `src/${from} may not import Node's own modules`
  }
  return floor.packages.some((name) => specifier === name || specifier.startsWith(`${name}/`))
    ? undefined
    : `src/${from} may not import the package ${specifier}`
}

/** Covers every way to name a module: import, export from, import(), require(), and import types. */
const floors: Rule = {
  create(context) {
    if (relative(src, context.filename).startsWith("..")) return {}
    const check = (node: Node, source: Node | null | undefined) => {
      if (source === null || source === undefined) return
      const message = source.type === "Literal" && typeof source.value === "string"
        ? offence(context.filename, source.value)
        : "name the imported module with a string"
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

/** `x as unknown as T` claims anything about anything. */
const noDoubleCast: Rule = {
  create: (context) => ({
    TSAsExpression(node) {
      if (node.expression.type !== "TSAsExpression") return
      if (["TSUnknownKeyword", "TSAnyKeyword", "TSNeverKeyword"].includes(node.expression.typeAnnotation.type)) {
        context.report({
          node,
          message: "a cast through unknown launders the type; if it must be, disable and say why"
        })
      }
    }
  })
}

/** A rule is switched off for a reason, which stands beside it: `// oxlint-disable-next-line rule -- reason`. */
const disableNeedsReason: Rule = {
  create: (context) => ({
    Program() {
      for (const comment of context.sourceCode.getAllComments()) {
        if (/^\s*(ox|es)lint-disable/.test(comment.value) && !/\s--\s+\S/.test(comment.value)) {
          context.report({ node: comment, message: "say why: `-- reason` after the rule's name" })
        }
      }
    }
  })
}

export default {
  meta: { name: "evsrc" },
  rules: { floors, "no-double-cast": noDoubleCast, "disable-needs-reason": disableNeedsReason }
}
