/**
 * Claims of timers in memory.
 *
 * @since 0.1.0
 */
import * as Clock from "effect/Clock"
import * as DateTime from "effect/DateTime"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import type { TimerDriver } from "../../consumer/TimerDriver.ts"

/**
 * Makes the timer driver of a store.
 *
 * @since 0.1.0
 * @category constructors
 */
export const make = (): TimerDriver => {
  const groups = new Map<string, Map<string, { readonly owner: string; readonly until: number }>>()
  return {
    now: DateTime.now,
    claimTimers: ({ duration, group, keys, owner }) =>
      Effect.map(Clock.currentTimeMillis, (now) => {
        const claims = groups.get(group) ?? new Map<string, { readonly owner: string; readonly until: number }>()
        groups.set(group, claims)
        const until = now + Duration.toMillis(duration)
        const free = keys.filter((key) => {
          const claim = claims.get(key)
          // One that lasts for longer is from before the clock was set back.
          return claim === undefined || claim.owner === owner || claim.until <= now || claim.until > until
        })
        for (const key of free) claims.set(key, { owner, until })
        return free
      }),
    releaseTimers: ({ group, keys, owner }) =>
      Effect.sync(() => {
        const claims = groups.get(group)
        for (const key of keys) if (claims?.get(key)?.owner === owner) claims.delete(key)
      })
  }
}
