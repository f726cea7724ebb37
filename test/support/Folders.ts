/** Folders for the data of databases that tests create. */
import * as Fs from "node:fs"
import * as Os from "node:os"

const memoryDisk = "/dev/shm"
const bytesNeeded = 4 * 2 ** 30

const hasMemoryDisk = (): boolean => {
  try {
    const { bavail, bsize } = Fs.statfsSync(memoryDisk)
    return bavail * bsize >= bytesNeeded
  } catch {
    return false
  }
}

/**
 * Returns a folder for databases, where every user may create folders: in memory on a Linux with enough of it, or else the system's
 * folder for temporary files. A new database takes a fraction of the time there, above all beside other programs that write.
 */
export const forDatabases = (): string => hasMemoryDisk() ? memoryDisk : Os.tmpdir()
