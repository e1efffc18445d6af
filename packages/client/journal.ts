import { closeSync, mkdirSync, openSync, readFileSync, writeSync } from 'node:fs'
import { homedir } from 'node:os'
import { dirname, join } from 'node:path'
import type { UploadForm } from './index.ts'

/** What was sent before: enough to go on after Ctrl-C, a crash or a power cut without sending anything twice. */
export interface Journal {
  get: (key: string) => Entry | undefined
  add: (entry: Entry) => void
  close: () => void
}

export interface Entry {
  /** It follows from the content, the endpoint, who sends it and what is asked for; the idempotency key follows from it. */
  key: string
  /** Hex SHA-256 of the file. */
  sha256: string
  imageId: string
  /** The image is on its way by this form, perhaps there. Without it, the image has been accepted. */
  form?: UploadForm
}

/** Where programs keep what should outlive a restart but is no document. */
export function journalPath(env: NodeJS.ProcessEnv, platform: NodeJS.Platform): string {
  const folder =
    platform === 'win32'
      ? (env['LOCALAPPDATA'] ?? join(homedir(), 'AppData', 'Local'))
      : platform === 'darwin'
        ? join(homedir(), 'Library', 'Application Support')
        : env['XDG_STATE_HOME'] || join(homedir(), '.local', 'state')
  return join(folder, 'image-analyzer', 'sent.jsonl')
}

/**
 * A file of JSON lines that is only ever appended to, so that it is whole whenever the process ends; of two lines with
 * one key the later counts. Several processes may write it at once.
 *
 * @param onLost is called once, when a line cannot be written; from then on, what is added is kept in memory
 * @throws when it can be neither read nor made
 */
export function openJournal(path: string, onLost: (error: Error) => void): Journal {
  mkdirSync(dirname(path), { recursive: true })
  // Forms in it let their bearer store an object, for some minutes.
  const file = openSync(path, 'a+', 0o600)
  const text = readFileSync(path, 'utf8')
  const entries = new Map<string, Entry>()
  for (const line of text.split('\n')) {
    const entry = readLine(line)
    if (entry !== undefined) entries.set(entry.key, entry)
  }
  // A line that was cut off must not swallow the next one.
  if (text !== '' && !text.endsWith('\n')) writeSync(file, '\n')
  let lost = false
  return {
    get: (key) => entries.get(key),
    add: (entry) => {
      entries.set(entry.key, entry)
      if (lost) return
      try {
        const line = Buffer.from(`${JSON.stringify(entry)}\n`)
        // A disk that fills up takes the first part.
        if (writeSync(file, line) < line.length) throw new Error('there is no room for a whole line')
      } catch (error) {
        lost = true
        onLost(error as Error)
      }
    },
    close: () => closeSync(file),
  }
}

/** For where no file can be kept: what is sent twice still has the same idempotency key, for a day. */
export function forgetfulJournal(): Journal {
  const entries = new Map<string, Entry>()
  return { get: (key) => entries.get(key), add: (entry) => entries.set(entry.key, entry), close: () => {} }
}

function readLine(line: string): Entry | undefined {
  try {
    const entry = JSON.parse(line) as Entry
    return typeof entry.key === 'string' && typeof entry.imageId === 'string' ? entry : undefined
  } catch {
    return undefined
  }
}
