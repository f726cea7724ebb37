/**
 * Reserves connections of a client's pool, within the time that a caller may wait for one.
 *
 * @since 0.1.0
 */
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import type * as Fiber from "effect/Fiber"
import * as Scope from "effect/Scope"
import type { SqlClient } from "effect/sql/SqlClient"
import type { Connection } from "effect/sql/SqlConnection"
import { ConnectionError, SqlError } from "effect/sql/SqlError"
import { inWords } from "../PgDeadlines.ts"
import * as Timer from "../timer.ts"
import { useOf } from "./ClientPool.ts"
import { cancelTimeout, hasEnded, noResponse } from "./StatementDeadline.ts"

const noConnection = (timeout: number): SqlError => {
  const message =
    `no connection became free within ${
      inWords(timeout)
    } (connectionTimeout): all connections of the client's pool were `
    + "in use, or the server accepted none; nothing was sent"
  return new SqlError({ reason: new ConnectionError({ cause: new Error(message), message, operation: "connect" }) })
}

/**
 * Gives an abandoned statement time to be cancelled, and releases its connection. A connection that is released while a statement is in
 * flight is closed.
 */
const abandon = (statement: Fiber.Fiber<unknown, unknown>, scope: Scope.Closeable): Effect.Effect<void> => {
  statement.interruptUnsafe()
  return Effect.andThen(hasEnded(statement, cancelTimeout), Scope.close(scope, Exit.void))
}

/**
 * Runs one statement on a connection of its own.
 *
 * @since 0.1.0
 * @category combinators
 */
export const alone = <A>(
  sql: SqlClient,
  statement: Effect.Effect<A, SqlError>,
  connectionTimeout: number,
  timeout: number
): Effect.Effect<A, SqlError> =>
  Effect.withFiber((fiber) =>
    Effect.callback((resume) => {
      const scope = Scope.makeUnsafe()
      const use = useOf(sql)
      let isConnected = false
      let timer: Timer.Timer
      use.waiting++
      const wait = (millis: number, error: (millis: number) => SqlError) => {
        Timer.stop(timer)
        timer = Timer.start(millis, () => {
          resume(Effect.fail(error(millis)))
          Effect.runFork(abandon(running, scope))
        })
      }
      const running: Fiber.Fiber<A, SqlError> = Effect.runForkWith(Context.add(fiber.context, Scope.Scope, scope))(
        Effect.onExit(
          Effect.flatMap(sql.reserve, (connection) => {
            isConnected = true
            use.waiting--
            use.inUse++
            wait(timeout, noResponse)
            return Effect.provideService(statement, sql.transactionService, [connection, 0])
          }),
          (exit) => {
            if (isConnected) use.inUse--
            else use.waiting--
            return Scope.close(scope, exit)
          }
        )
      )
      if (!isConnected) wait(connectionTimeout, noConnection)
      running.addObserver((exit) => {
        Timer.stop(timer)
        resume(exit)
      })
      return Effect.suspend(() => {
        Timer.stop(timer)
        return abandon(running, scope)
      })
    })
  )

/**
 * A connection of the pool, and the scope whose end releases it.
 *
 * @since 0.1.0
 * @category models
 */
export interface Reserved {
  readonly connection: Connection
  readonly scope: Scope.Closeable
}

/**
 * Reserves a connection. The caller releases it by closing the scope.
 *
 * @since 0.1.0
 * @category constructors
 */
export const reserveWithin = (sql: SqlClient, timeout: number): Effect.Effect<Reserved, SqlError> =>
  Effect.withFiber((fiber) =>
    Effect.callback((resume) => {
      const scope = Scope.makeUnsafe()
      const use = useOf(sql)
      const released = Effect.sync(() => {
        use.inUse--
      })
      const reserve = Effect.tap(sql.reserve, () => {
        use.inUse++
        return Scope.addFinalizer(scope, released)
      })
      use.waiting++
      const running = Effect.runForkWith(Context.add(fiber.context, Scope.Scope, scope))(reserve)
      const timer = Timer.start(timeout, () => {
        resume(Effect.fail(noConnection(timeout)))
        Effect.runFork(abandon(running, scope))
      })
      running.addObserver((exit) => {
        use.waiting--
        Timer.stop(timer)
        resume(Exit.map(exit, (connection) => ({ connection, scope })))
      })
      return Effect.suspend(() => {
        Timer.stop(timer)
        return abandon(running, scope)
      })
    })
  )
