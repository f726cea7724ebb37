/**
 * Flushes files and directories to the disk, also on systems that reject it for a directory or for a handle without write access.
 *
 * @since 0.1.0
 */
import * as NodeFs from "node:fs"

/**
 * What flushing needs of `node:fs`. A test provides that of another platform.
 *
 * @since 0.1.0
 * @category models
 */
export interface FileSystem {
  readonly openSync: (path: string, flags: string) => number
  readonly fsyncSync: (fd: number) => void
  readonly closeSync: (fd: number) => void
  readonly fstatSync: (fd: number) => { readonly isDirectory: () => boolean }
  readonly promises: {
    readonly stat: (path: string) => Promise<{ readonly isDirectory: () => boolean }>
    readonly open: (
      path: string,
      flags: string
    ) => Promise<{ readonly sync: () => Promise<void>; readonly close: () => Promise<void> }>
  }
}

/** How Windows and some network file systems reject to open or to flush a directory, or a handle without write access. */
const rejections: ReadonlyArray<unknown> = ["EACCES", "EBADF", "EINVAL", "EISDIR", "ENOTSUP", "EPERM", "EROFS"]

const isRejection = (error: unknown): boolean =>
  error instanceof Error && "code" in error && rejections.includes(error.code)

/**
 * Flushes a file or a directory. A directory that the system does not flush is left to the file system, as PostgreSQL does.
 *
 * @since 0.1.0
 * @category constructors
 */
export const flushPath = async (path: string, fs: FileSystem = NodeFs): Promise<void> => {
  const flush = async (flags: string) => {
    const file = await fs.promises.open(path, flags)
    try {
      await file.sync()
    } finally {
      await file.close()
    }
  }
  const isDirectory = (await fs.promises.stat(path)).isDirectory()
  try {
    await flush(isDirectory ? "r" : "r+")
  } catch (error) {
    if (!isRejection(error)) throw error
    // A file that this process may only read.
    if (!isDirectory) await flush("r")
  }
}

/**
 * Flushes an open file. If the system rejects the handle, the file is opened again with write access.
 *
 * @since 0.1.0
 * @category constructors
 */
export const flushHandle = (fd: number, pathOf: () => string, fs: FileSystem = NodeFs): void => {
  try {
    fs.fsyncSync(fd)
  } catch (error) {
    if (!isRejection(error)) throw error
    if (fs.fstatSync(fd).isDirectory()) return
    const again = fs.openSync(pathOf(), "r+")
    try {
      fs.fsyncSync(again)
    } finally {
      fs.closeSync(again)
    }
  }
}
