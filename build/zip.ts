import { unzipSync, type Zippable, zipSync } from 'fflate'
import type { Files } from './bundle.ts'

/**
 * The same files give the same bytes, on every machine and in every year: Terraform compares hashes, and zlib itself
 * compresses differently from one processor to the next, so it is fflate's JavaScript that does it.
 */
export function makeZip(files: Files): Uint8Array {
  const entries: Zippable = {}
  for (const name of Object.keys(files).sort()) entries[name] = files[name] ?? new Uint8Array()
  return zipSync(entries, {
    // For sharp's binaries smaller than 9, in three fifths of the time.
    level: 8,
    // Zip keeps local time without a zone. Its years begin in 1980.
    mtime: new Date(1980, 0, 2, 12),
    // A regular file that all may read (Lambda runs as another user than the one who built), made on Unix (3).
    os: 3,
    attrs: 0o100644 << 16,
  })
}

const opened = new WeakMap<Uint8Array, Files>()

/** What is in a zip, which is looked into once: a worker's takes half a second. */
export function unzip(zip: Uint8Array): Files {
  const files = opened.get(zip) ?? unzipSync(zip)
  opened.set(zip, files)
  return files
}
