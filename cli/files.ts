import { glob, open, opendir, realpath, stat } from 'node:fs/promises'
import { extname, join } from 'node:path'
import { FORMAT_BYTES, formatOf } from '../shared/format.ts'

/** A file to send, or why one is not sent. */
export type Found =
  | { path: string; bytes: number; skipped?: undefined; failed?: undefined }
  | { path: string; skipped: string; failed?: undefined }
  | { path: string; failed: { code: string; detail: string }; skipped?: undefined }

/** Names of what the API takes. A hint for folders only: it is the API that decides, by content. */
const IMAGE_NAMES = ['.jpg', '.jpeg', '.jpe', '.jfif', '.png', '.webp', '.gif', '.avif', '']

/**
 * The files that arguments name: files as they are, folders with all that is below them, patterns with what they
 * match. A file comes once, however many arguments name it.
 */
export async function* findFiles(names: string[]): AsyncGenerator<Found> {
  const files = new Set<string>()
  const folders = new Set<string>()

  /** @param named whether a person has named this very file, so that it is not for its name to keep it back */
  async function* visit(path: string, named: boolean): AsyncGenerator<Found> {
    try {
      const entry = await stat(path)
      if (entry.isDirectory()) {
        // Links may lead back to a folder above.
        const real = await realpath(path)
        if (folders.has(real)) return
        folders.add(real)
        const inside: string[] = []
        for await (const { name } of await opendir(path)) inside.push(name)
        for (const name of inside.sort()) {
          if (name.startsWith('.')) yield { path: join(path, name), skipped: 'hidden' }
          else yield* visit(join(path, name), false)
        }
      } else if (!entry.isFile()) {
        yield { path, skipped: 'not a file' }
      } else if (!named && !IMAGE_NAMES.includes(extname(path).toLowerCase())) {
        // A folder of a telephone is full of what only has to be exported.
        const { name, todo } = formatOf(await startOf(path)) ?? {}
        const why = todo && `This is ${name}. ${todo}`
        yield { path, skipped: why ?? `not an image by its name (${extname(path)})` }
      } else {
        const real = await realpath(path)
        if (files.has(real)) return
        files.add(real)
        yield { path, bytes: entry.size }
      }
    } catch (error) {
      yield { path, failed: readError(error) }
    }
  }

  for (const name of names) {
    // What is there is meant as it is, also with brackets in its name.
    const matches = (await exists(name)) ? [name] : await matchesOf(name)
    if (matches.length === 0) {
      yield { path: name, failed: { code: 'NO_SUCH_FILE', detail: 'There is no such file or folder.' } }
    }
    for (const path of matches) yield* visit(path, true)
  }
}

async function startOf(path: string): Promise<Uint8Array> {
  const file = await open(path)
  try {
    const { buffer, bytesRead } = await file.read(new Uint8Array(FORMAT_BYTES))
    return buffer.subarray(0, bytesRead)
  } finally {
    await file.close()
  }
}

const exists = (path: string): Promise<boolean> =>
  stat(path).then(
    () => true,
    (error) => error.code !== 'ENOENT' && error.code !== 'ENOTDIR',
  )

async function matchesOf(pattern: string): Promise<string[]> {
  const matches: string[] = []
  for await (const path of glob(pattern)) matches.push(path)
  return matches.sort()
}

/** Why a file cannot be read, for a person. @throws the error, if it is none of the file system */
export function readError(error: unknown): { code: string; detail: string } {
  const { code, message } = error as NodeJS.ErrnoException
  if (typeof code !== 'string') throw error
  const reasons: Record<string, string> = {
    ENOENT: 'It is gone, or a link to nowhere.',
    EACCES: 'You may not read it.',
    EPERM: 'You may not read it.',
    ELOOP: 'It is a link to itself.',
    ENAMETOOLONG: 'Its name is too long.',
  }
  return { code: 'UNREADABLE', detail: reasons[code] ?? `It cannot be read: ${message}` }
}
