/**
 * Writes the generated parts of docs/http-api.md. Run it when the API of the example changes.
 */
import * as OpenApi from "effect/http-api/OpenApi"
import * as Schema from "effect/Schema"
import { readFileSync, writeFileSync } from "node:fs"
import { resolve } from "node:path"
import { Api } from "../examples/http/contract/Api.ts"
import * as HttpReference from "./HttpReference.ts"

const file = resolve(import.meta.dirname, "../docs/http-api.md")
// The document as the program serves it.
const document: unknown = JSON.parse(JSON.stringify(OpenApi.fromApi(Api)))
const page = HttpReference.write(
  readFileSync(file, "utf8"),
  Schema.decodeUnknownSync(HttpReference.Document)(document)
)
writeFileSync(file, page)
