import {
  chmodSync,
  closeSync,
  existsSync,
  mkdirSync,
  openSync,
  readdirSync,
  readFileSync,
  statSync,
} from 'node:fs'
import { dirname, join, resolve } from 'node:path'
import { DatabaseSync } from 'node:sqlite'
import { syncFolder } from './files.ts'
import { hasRoom, ROOM_BYTES } from './storage.ts'

const LOCK = 'lock.db'
/** The emulator's file, by the emulator's name: objects, queues, items. */
export const DATABASE = 'fauxqs.db'
/** Made by the first start that came so far as to have a bus. */
const EVENT_BRIDGE = 'eventbridge.json'
/** What is made in a data folder here. */
const OURS = /^((lock|fauxqs)\.db(-wal|-shm|-journal)?|(eventbridge|lambda|ttl)\.json(\.new)?|room)$/

/** https://sqlite.org/rescode.html: BUSY; CORRUPT and NOTADB. */
const SQLITE_BUSY = 5
const SQLITE_DAMAGE = [11, 26]

/** The program that takes a folder, as messages name it. */
export interface FolderOwner {
  program: string
  /** The environment variable that names the folder. */
  setting: string
  /** What is kept there, as its users call it. */
  contents: string
  /** Names of files that the program itself keeps there. */
  files: readonly string[]
}

/** Why a folder cannot be taken, and the way out. */
export class UnusableFolder extends Error {}

/**
 * Takes a folder for this process alone, for its owner's eyes only, and only whole: with a part of the records missing
 * the rest would be wrong.
 *
 * @returns lets go of it
 * @throws UnusableFolder
 */
export function openDataFolder(folder: string, owner: FolderOwner): () => void {
  const release = take(folder, owner)
  try {
    if (!hasRoom(folder))
      throw new UnusableFolder(
        `The disk of ${folder} has less than ${ROOM_BYTES / 1e6} MB left; make room, or set ${owner.setting} to another folder.`,
      )
    requireWhole(folder, owner)
    return release
  } catch (error) {
    release()
    throw error
  }
}

const NO_RIGHT = 'you lack the permission'
const REASONS: Record<string, string> = {
  EEXIST: 'it is a file',
  ENOTDIR: 'a part of its path is a file',
  EACCES: NO_RIGHT,
  EPERM: NO_RIGHT,
  EROFS: 'its file system is read-only',
  ENOSPC: 'its disk is full',
  EDQUOT: 'your share of its disk is full',
}

/** With its parents. Node's own recursion loops for ever where a file system takes no folders. */
function makeFolder(folder: string): void {
  const parent = dirname(folder)
  // A drive of Windows has no parent, and may be missing.
  if (parent !== folder && !existsSync(parent)) makeFolder(parent)
  mkdirSync(folder, { mode: 0o700 })
  syncFolder(parent)
}

/** The operating system holds the lock, so that it ends with the process however that ends. */
function take(folder: string, { program, setting, files }: FolderOwner): () => void {
  try {
    if (!statSync(folder, { throwIfNoEntry: false })?.isDirectory()) makeFolder(resolve(folder))
    requireFiles(folder, files)
    keepPrivate(folder, files)
    const database = new DatabaseSync(withMode(join(folder, LOCK)))
    database.exec('PRAGMA locking_mode = EXCLUSIVE; BEGIN EXCLUSIVE')
    return () => database.close()
  } catch (error) {
    const { code, errcode } = error as NodeJS.ErrnoException & { errcode?: number }
    if (code === undefined) throw error
    if (errcode === SQLITE_BUSY)
      throw new UnusableFolder(
        `Another ${program} is using ${folder}; stop it, or set ${setting} to another folder.`,
      )
    if (isDamage(error))
      throw new UnusableFolder(`${join(folder, LOCK)} is damaged. Delete it; there is nothing in it.`)
    throw new UnusableFolder(
      `${setting} ${folder} cannot be written: ${REASONS[code] ?? (error as Error).message}. Set it to a folder that you may write.`,
    )
  }
}

/** SQLite gives the files beside it the mode of a database. */
export function withMode(file: string): string {
  closeSync(openSync(file, 'a', 0o600))
  return file
}

/** Of a pipe, reading never ends, and the signals that end this process would wait for it. */
function requireFiles(folder: string, others: readonly string[]): void {
  for (const name of readdirSync(folder)) {
    const file = join(folder, name)
    if (!OURS.test(name) && !others.includes(name)) continue
    if (statSync(file, { throwIfNoEntry: false })?.isFile() === false)
      throw new UnusableFolder(`${file} is not a file. Move it away.`)
  }
}

/** Also what an earlier run has left. A folder that has other things in it as well keeps its own mode. */
function keepPrivate(folder: string, others: readonly string[]): void {
  const entries = readdirSync(folder, { withFileTypes: true })
  const isOurs = (name: string): boolean => OURS.test(name) || others.includes(name)
  const files = entries.filter((entry) => entry.isFile() && isOurs(entry.name))
  const paths = files.map(({ name }) => join(folder, name))
  if (files.length === entries.length) restrict(folder, 0o700)
  for (const path of paths) restrict(path, 0o600)
}

function restrict(path: string, mode: number): void {
  try {
    chmodSync(path, mode)
  } catch (error) {
    // Another user's folder, or a file system without modes.
    if (!['EPERM', 'ENOTSUP', 'EROFS'].includes((error as NodeJS.ErrnoException).code ?? '')) throw error
  }
}

const isDamage = (error: unknown): boolean =>
  SQLITE_DAMAGE.includes((error as { errcode?: number }).errcode ?? 0)

/** Columns that are JSON, as far as a start reads them. */
const JSON_COLUMNS = [
  ['dynamodb', 'value'],
  ['sqs_queues', 'attributes'],
  ['sqs_queues', 'tags'],
  ['sqs_messages', 'message_attributes'],
  ['bucket_settings', 'value'],
] as const

function requireWhole(folder: string, { setting, contents }: FolderOwner): void {
  const file = join(folder, DATABASE)
  const remedy = `Restore ${folder} from a copy, or delete it to begin without its ${contents}.`
  if (existsSync(join(folder, 'dynamodb')))
    throw new UnusableFolder(
      `${join(folder, 'dynamodb')} is from an earlier version, which stored records differently. Set ${setting} to another folder, or delete ${folder} to begin without its ${contents}.`,
    )
  if (existsSync(join(folder, EVENT_BRIDGE)) && !(existsSync(file) && statSync(file).size > 0))
    throw new UnusableFolder(`${file} is missing or empty, and ${EVENT_BRIDGE} is there. ${remedy}`)
  const damage = damageOfLog(`${file}-wal`) ?? damageOf(withMode(file))
  if (damage !== undefined) throw new UnusableFolder(`${file} is damaged (${damage}). ${remedy}`)
}

function damageOf(file: string): string | undefined {
  const database = new DatabaseSync(file)
  try {
    // A second for each gigabyte, as long as it takes the emulator to load it.
    const [result] = database.prepare('PRAGMA integrity_check(1)').all()
    const verdict = String(Object.values(result ?? {})[0])
    if (verdict !== 'ok') return verdict.split('\n').at(-1)
    const table = database.prepare("SELECT 1 FROM sqlite_schema WHERE type = 'table' AND name = ?")
    for (const [name, column] of JSON_COLUMNS) {
      if (table.get(name) === undefined) continue
      const broken = database.prepare(`SELECT 1 FROM ${name} WHERE NOT json_valid(${column}) LIMIT 1`)
      if (broken.get() !== undefined) return `a row of ${name} cannot be read`
    }
    return undefined
  } catch (error) {
    if (isDamage(error)) return (error as Error).message
    throw error
  } finally {
    database.close()
  }
}

const HEADER_BYTES = 32
const FRAME_BYTES = 24

/**
 * What is wrong with a write-ahead log (SQLite documentation, "WAL-mode File Format"). SQLite reads it up to the first
 * frame whose checksum is wrong, and leaves out the rest without a word. That is right where a process or the power broke
 * off in the last transaction; but each one is on the disk before the next begins, so behind it there can be no other.
 */
function damageOfLog(file: string): string | undefined {
  if (!existsSync(file)) return undefined
  const log = readFileSync(file)
  if (log.length < HEADER_BYTES || log.every((byte) => byte === 0)) return undefined
  const isBigEndian = log.readUInt32BE(0) === 0x377f0683
  const word = (at: number): number => (isBigEndian ? log.readUInt32BE(at) : log.readUInt32LE(at))
  let sum: [number, number] = [0, 0]
  const add = (from: number, to: number): void => {
    let [first, second] = sum
    for (let at = from; at < to; at += 8) {
      first = (first + word(at) + second) >>> 0
      second = (second + word(at + 4) + first) >>> 0
    }
    sum = [first, second]
  }
  const matches = (at: number): boolean =>
    log.readUInt32BE(at) === sum[0] && log.readUInt32BE(at + 4) === sum[1]

  add(0, 24)
  if (!(isBigEndian || log.readUInt32BE(0) === 0x377f0682) || !matches(24)) return 'its log has no header'
  const frameBytes = FRAME_BYTES + log.readUInt32BE(8)
  let isWhole = true
  let commitBehind = false
  for (let at = HEADER_BYTES; at + frameBytes <= log.length; at += frameBytes) {
    // Behind its end is what is left of an earlier use of the file, with other salts.
    const isOfThisLog = log.subarray(at + 8, at + 16).equals(log.subarray(16, 24))
    if (isWhole) {
      add(at, at + 8)
      add(at + FRAME_BYTES, at + frameBytes)
      isWhole = isOfThisLog && matches(at + 16)
    }
    if (isWhole || !isOfThisLog) continue
    if (commitBehind) return 'a transaction in its log is not whole'
    commitBehind = log.readUInt32BE(at + 4) !== 0
  }
  return undefined
}
