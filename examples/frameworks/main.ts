/**
 * Serves the users on a framework: `node --conditions=@evsrc/source examples/frameworks/main.ts Express`.
 */
import { Evsrc } from "evsrc/promise"
import { once } from "node:events"
import * as Express from "./Express.ts"
import * as Fastify from "./Fastify.ts"
import * as Hono from "./Hono.ts"
import * as NodeHttp from "./NodeHttp.ts"
import { UsersLayer } from "./UsersApp.ts"

const servers = new Map(Object.entries({ Express, Fastify, Hono, NodeHttp }))
const [, , name = ""] = process.argv
const server = servers.get(name)
if (server === undefined) throw new Error(`"${name}" is not one of ${Array.from(servers.keys()).join(", ")}`)

const app = await Evsrc.start(UsersLayer)
const { close, url } = await server.serve(app, Number(process.env["PORT"] ?? 3000))
console.log(`${name} listens on ${url}`)
await Promise.race([once(process, "SIGINT"), once(process, "SIGTERM")])
await close()
await app.close()
