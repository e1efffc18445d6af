import { rmSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import type { DatabaseSync } from 'node:sqlite'
import { AwsError } from './json.ts'

/** What every service answers while the disk takes nothing more. It is no error that an SDK tries again at once. */
export class DiskFull extends AwsError {
  constructor(cause?: unknown) {
    super('InsufficientStorage', 'The disk of the embedded AWS is full.', 507)
    this.cause = cause
  }
}

/** Also where it comes back as an SDK's error. */
export const isDiskFull = (error: unknown): boolean =>
  error instanceof Error && error.name === 'InsufficientStorage'

/** Primary result codes: READONLY, IOERR (also for a file over the limit of `ulimit -f`), FULL, CANTOPEN. */
const SQLITE_CODES = [8, 10, 13, 14]
const SYSTEM_CODES = ['ENOSPC', 'EDQUOT', 'EFBIG', 'EROFS', 'EIO']

function isOfDisk(error: unknown): boolean {
  const { code = '', errcode = 0 } = error as { code?: string; errcode?: number }
  return code === 'ERR_SQLITE_ERROR' ? SQLITE_CODES.includes(errcode & 0xff) : SYSTEM_CODES.includes(code)
}

/** Of an object. S3 takes 5 GB in one request; here objects are in memory on their way, so 100 MB have to do. */
export const MAX_OBJECT_BYTES = 100_000_000

/** Room that there has to be before anything is taken again: for two objects of a few MB, and what is made of them. */
export const ROOM_BYTES = 10_000_000
/** Milliseconds between two looks whether there is room again. */
const LOOK_EVERY_MS = 1_000

/** Whether the folder takes ROOM_BYTES more. */
export function hasRoom(folder: string): boolean {
  const file = join(folder, 'room')
  try {
    writeFileSync(file, Buffer.alloc(ROOM_BYTES), { mode: 0o600, flush: true })
    return true
  } catch (error) {
    if (isOfDisk(error)) return false
    throw error
  } finally {
    rmSync(file, { force: true })
  }
}

/** Where the emulators keep everything, and whether that takes anything. */
export interface Storage {
  database: DatabaseSync
  /** Writes all of it or nothing; within another one it is a part of that. @throws DiskFull */
  atomically: <T>(work: () => T) => T
  /** Runs what writes. @throws DiskFull in place of what the disk says; all other errors as they are */
  guard: <T>(work: () => T) => T
  /** Whether to refuse what would write. Every second it is tried whether there is room again. */
  isFull: () => boolean
}

/**
 * @param afterwards called before the first write when there is room again: an emulator that was stopped half-way may
 *   have in memory what it could not write
 * @param say hears a sentence when the disk is full, and when it no longer is
 */
export function createStorage(
  folder: string,
  database: DatabaseSync,
  afterwards: () => void,
  say: (sentence: string) => void,
): Storage {
  let full = false
  let lookedAt = 0
  let open = false

  function guard<T>(work: () => T): T {
    try {
      return work()
    } catch (error) {
      if (!isOfDisk(error)) throw error
      if (!full)
        say(
          `${folder} cannot be written: ${(error as Error).message}. Make room; what was accepted is kept, and nothing more is accepted until then.`,
        )
      full = true
      lookedAt = performance.now()
      throw new DiskFull(error)
    }
  }

  function atomically<T>(work: () => T): T {
    if (open) return work()
    open = true
    try {
      return guard(() => {
        database.exec('BEGIN')
        const result = work()
        database.exec('COMMIT')
        return result
      })
    } finally {
      // Some errors end the transaction.
      if (database.isTransaction) database.exec('ROLLBACK')
      open = false
    }
  }

  return {
    database,
    atomically,
    guard,
    isFull: () => {
      if (!full || performance.now() - lookedAt < LOOK_EVERY_MS) return full
      lookedAt = performance.now()
      if (!hasRoom(folder)) return true
      full = false
      guard(afterwards)
      say(`${folder} can be written again.`)
      return false
    },
  }
}
