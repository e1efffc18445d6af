import { isUtf8 } from 'node:buffer'
import { glob, open, readdir, realpath, stat } from 'node:fs/promises'
import { basename, dirname, extname, join } from 'node:path'
import { FORMAT_BYTES, formatOf } from '../image-guard/format.ts'

/** In bytes where it is not UTF-8, since a string would lose some of them. */
export type Path = string | Buffer

/** A file to send, or why one is not sent. */
export type Found =
  | { path: string; file: Path; bytes: number; skipped?: undefined; failed?: undefined }
  | { path: string; skipped: string; failed?: undefined }
  | { path: string; failed: { code: string; detail: string }; skipped?: undefined }

/** Names of what the API takes. A hint for folders only: it is the API that decides, by content. */
const IMAGE_NAMES = ['.jpg', '.jpeg', '.jpe', '.jfif', '.png', '.webp', '.gif', '.avif', '']

/**
 * The files that arguments name: files as they are, folders with all that is below them, patterns with what they
 * match. A file comes once, however many arguments name it.
 *
 * @param takesHeic whether the API does, which is asked where a folder has HEIC
 */
export async function* findFiles(names: string[], takesHeic: () => Promise<boolean>): AsyncGenerator<Found> {
  const files = new Set<string>()
  const folders = new Set<string>()

  /** @param named whether a person has named this very file, so that it is not for its name to keep it back */
  async function* visit(file: Path, named: boolean): AsyncGenerator<Found> {
    const path = shown(file)
    try {
      const entry = await stat(file)
      // Links may lead back to a folder above.
      const real = (await realpath(file, 'buffer')).toString('latin1')
      if (entry.isDirectory()) {
        if (folders.has(real)) return
        folders.add(real)
        for (const name of (await readdir(file, 'buffer')).sort(Buffer.compare)) {
          const below = within(file, name)
          if (name[0] === DOT) yield { path: shown(below), skipped: 'hidden' }
          else yield* visit(below, false)
        }
      } else if (!entry.isFile()) {
        yield { path, skipped: 'not a file' }
      } else if (!named && !(await isImage(file))) {
        // A folder of a telephone is full of what only has to be exported.
        const { name, todo } = formatOf(await startOf(file)) ?? {}
        const why = todo && `This is ${name}. ${todo}`
        yield { path, skipped: why ?? `not an image by its name (${extname(path)})` }
      } else {
        if (files.has(real)) return
        files.add(real)
        yield { path, file, bytes: entry.size }
      }
    } catch (error) {
      yield { path, failed: readError(error) }
    }
  }

  let heic: Promise<boolean> | undefined
  async function isImage(file: Path): Promise<boolean> {
    if (IMAGE_NAMES.includes(extname(shown(file)).toLowerCase())) return true
    if (formatOf(await startOf(file), true)?.contentType !== 'image/heic') return false
    heic ??= takesHeic()
    return heic
  }

  for (const name of names) {
    // What is there is meant as it is, also with brackets in its name.
    const matches = (await exists(name)) ? [name] : await matchesOf(name)
    if (matches.length === 0) {
      yield { path: name, failed: { code: 'NO_SUCH_FILE', detail: 'There is no such file or folder.' } }
    }
    for (const match of matches) yield* visit(match, true)
  }
}

const DOT = 0x2e

/** For people. What is not UTF-8 was named long ago or under Windows: in Western letters, as a guess. */
const shown = (path: Path): string =>
  typeof path === 'string' ? path : new TextDecoder(isUtf8(path) ? 'utf-8' : 'windows-1252').decode(path)

function within(folder: Path, name: Buffer): Path {
  if (typeof folder === 'string' && isUtf8(name)) return join(folder, name.toString('utf8'))
  return Buffer.concat([Buffer.from(folder), Buffer.from('/'), name])
}

async function startOf(path: Path): Promise<Uint8Array> {
  const file = await open(path)
  try {
    const { buffer, bytesRead } = await file.read(new Uint8Array(FORMAT_BYTES))
    return buffer.subarray(0, bytesRead)
  } finally {
    await file.close()
  }
}

const exists = (path: Path): Promise<boolean> =>
  stat(path).then(
    () => true,
    (error) => error.code !== 'ENOENT' && error.code !== 'ENOTDIR',
  )

async function matchesOf(pattern: string): Promise<Path[]> {
  const matches: string[] = []
  for await (const path of glob(pattern)) matches.push(path)
  if (matches.length === 0) matches.push(pattern)
  return (await Promise.all(matches.sort().map(onDisk))).flat()
}

/** What a text may stand for: where Node reads bytes that are not UTF-8, as in an argument, they become U+FFFD. */
async function onDisk(text: string): Promise<Path[]> {
  if (await exists(text)) return [text]
  const folder = dirname(text)
  if (folder === text || !text.includes('\ufffd')) return []
  const found = (await onDisk(folder)).map(async (parent) => {
    const names = await readdir(parent, 'buffer').catch(() => [])
    return names
      .filter((name) => name.toString('utf8') === basename(text))
      .map((name) => within(parent, name))
  })
  return (await Promise.all(found)).flat()
}

/** Why a file cannot be read, for a person. @throws the error, if it is none of the file system */
export function readError(error: unknown): { code: string; detail: string } {
  const { code, message, name } = error as NodeJS.ErrnoException
  // By a blob of Node, whose file has another size or time than when the blob was made.
  if (name === 'NotReadableError') return { code: 'UNREADABLE', detail: 'It was changed while it was sent.' }
  if (typeof code !== 'string') throw error
  const reasons: Record<string, string> = {
    ENOENT: 'It is gone, or a link to a missing file.',
    // Of openAsBlob, which gives this code for every reason.
    ERR_INVALID_ARG_VALUE: 'It is gone, or you may not read it.',
    EACCES: 'You may not read it.',
    EPERM: 'You may not read it.',
    ELOOP: 'It is a link to itself.',
    ENAMETOOLONG: 'Its name is too long.',
  }
  return { code: 'UNREADABLE', detail: reasons[code] ?? `It cannot be read: ${message}` }
}
