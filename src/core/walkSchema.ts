/**
 * @since 0.1.0
 */
import type * as SchemaAST from "effect/SchemaAST"

/**
 * Calls `each` once for every node of a Schema; with `encodings` also for the nodes of its encoded side.
 *
 * @since 0.1.0
 * @category combinators
 */
export const walkSchema = (schema: SchemaAST.AST, encodings: boolean, each: (ast: SchemaAST.AST) => void): void => {
  const seen = new Set<SchemaAST.AST>()
  const visit = (ast: SchemaAST.AST): void => {
    if (seen.has(ast)) return
    seen.add(ast)
    each(ast)
    if (encodings) { for (const { to } of ast.encoding ?? []) visit(to) }
    switch (ast._tag) {
      case "Objects":
        for (const { type } of ast.propertySignatures) visit(type)
        for (const { type } of ast.indexSignatures) visit(type)
        return
      case "Arrays":
        return [...ast.elements, ...ast.rest].forEach(visit)
      case "Union":
        return ast.types.forEach(visit)
      case "Suspend":
        return visit(ast.thunk())
      case "Declaration":
        return ast.typeParameters.forEach(visit)
    }
  }
  visit(schema)
}
