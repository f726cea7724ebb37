/**
 * The texts of the migrations. This module reads the files; the build replaces it with a module that contains the texts, so that a
 * program which is bundled into one file has them.
 *
 * @since 0.1.0
 */
import { readFile } from "node:fs/promises"

/**
 * Returns the text of a file of `migrations/`, such as `0001_event_store.sql`.
 *
 * @since 0.1.0
 * @category accessors
 */
export const read = (file: string): Promise<string> =>
  readFile(new URL(`../../../migrations/${file}`, import.meta.url), "utf8")
