import { createHash, randomBytes } from 'node:crypto'
import {
  existsSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmSync,
  statSync,
  writeFileSync,
} from 'node:fs'
import { basename, dirname, join } from 'node:path'
import { type Manifest, manifestSchema, NotUsable } from './manifest.ts'

/** Models that people have added: a folder with a folder for each, which has these two files. */
const MANIFEST = 'manifest.json'
const MODEL = 'model.onnx'

const MOST_MANIFEST_BYTES = 2_000_000
/** Good detectors have from 10 to 200 MB. */
const MOST_MODEL_BYTES = 500_000_000
const MOST_REDIRECTS = 5
/** Between two pieces of a download. */
const PATIENCE_MS = 60_000

export interface Installed {
  manifest: Manifest
  file: string
}

/**
 * @param folder of all, or of one, or the manifest of one
 * @throws NotUsable
 */
export function readInstalled(folder: string): Installed[] {
  if (!existsSync(folder)) return []
  if (!statSync(folder).isDirectory()) return [readOne(folder)]
  if (existsSync(join(folder, MANIFEST))) return [readOne(join(folder, MANIFEST))]
  return readdirSync(folder)
    .filter((name) => !name.startsWith('.') && existsSync(join(folder, name, MANIFEST)))
    .sort()
    .map((name) => readOne(join(folder, name, MANIFEST)))
}

function readOne(path: string): Installed {
  const manifest = parseManifest(readBounded(path, MOST_MANIFEST_BYTES), path)
  return { manifest, file: join(dirname(path), manifest.file) }
}

/** @throws NotUsable where it is not what was added */
export function readModel({ manifest, file }: Installed): Uint8Array {
  const bytes = readBounded(file, MOST_MODEL_BYTES)
  demandChecksum(bytes, manifest, file, `; "npm run models -- remove ${manifest.name}" continues without it`)
  return bytes
}

/**
 * Puts a model among those of the folder, all of it or nothing.
 *
 * @param source a manifest, or the folder of one: on this machine, or an https URL
 * @throws NotUsable
 */
export async function addModel(source: string, folder: string): Promise<Manifest> {
  const isUrl = /^[a-z][a-z0-9+.-]+:\/\//i.test(source)
  const place = isUrl ? manifestUrl(source) : manifestPath(source)
  const read = (from: string, most: number) =>
    isUrl ? download(new URL(from), most) : readBounded(from, most)
  const manifest = parseManifest(await read(place, MOST_MANIFEST_BYTES), place)
  const target = join(folder, manifest.name)
  if (existsSync(target))
    throw new NotUsable(
      `${manifest.name} is already installed; remove it first by "npm run models -- remove ${manifest.name}".`,
    )
  // A plain name, of a file next to the manifest.
  const from = isUrl ? new URL(manifest.file, place).href : join(dirname(place), manifest.file)
  const bytes = await read(from, MOST_MODEL_BYTES)
  demandChecksum(bytes, manifest, from)
  // Only who adds a model needs the runtime here: those that are asked load it in threads of their own.
  const { loadAdded } = await import('./added.ts')
  await loadAdded(manifest, bytes)
  const making = join(folder, `.${manifest.name}-${randomBytes(6).toString('hex')}`)
  try {
    mkdirSync(making, { recursive: true })
    writeFileSync(join(making, MODEL), bytes)
    writeFileSync(join(making, MANIFEST), `${JSON.stringify({ ...manifest, file: MODEL }, null, 2)}\n`)
    renameSync(making, target)
  } catch (error) {
    rmSync(making, { recursive: true, force: true })
    throw new NotUsable(`${target} cannot be written (${(error as Error).message}).`)
  }
  return manifest
}

/** @throws NotUsable */
export function removeModel(name: string, folder: string): void {
  // Only what has such a name is one of them: it is not for a name to lead elsewhere.
  const isName = manifestSchema.shape.name.safeParse(name).success
  const target = join(folder, name)
  if (!isName || !existsSync(join(target, MANIFEST)))
    throw new NotUsable(
      `There is no ${JSON.stringify(name)} in ${folder}; "npm run models -- list" lists them.`,
    )
  rmSync(target, { recursive: true })
}

function parseManifest(bytes: Uint8Array, place: string): Manifest {
  let json: unknown
  try {
    json = JSON.parse(Buffer.from(bytes).toString('utf8'))
  } catch {
    throw new NotUsable(`${place} is no JSON.`)
  }
  const { data, error } = manifestSchema.safeParse(json)
  if (data !== undefined) return data
  const [issue] = error.issues
  throw new NotUsable(
    `${place} is not a manifest of a model: ${issue?.path.join('.') || 'it'}: ${issue?.message}.`,
  )
}

function demandChecksum(bytes: Uint8Array, { name, sha256 }: Manifest, from: string, way = ''): void {
  if (createHash('sha256').update(bytes).digest('hex') !== sha256)
    throw new NotUsable(
      `${from} is not the file that the manifest of ${name} means: its SHA-256 is not the expected one${way}.`,
    )
}

function readBounded(path: string, most: number): Uint8Array {
  try {
    const { size } = statSync(path)
    if (size > most) throw new Error(`it has ${size} bytes; the limit is ${most}`)
    return readFileSync(path)
  } catch (error) {
    throw new NotUsable(`${path} cannot be read (${(error as Error).message}).`)
  }
}

const manifestPath = (path: string): string =>
  existsSync(path) && statSync(path).isDirectory() ? join(path, MANIFEST) : path

function manifestUrl(source: string): string {
  if (!URL.canParse(source)) throw new NotUsable(`${source} is no URL.`)
  const url = new URL(source)
  if (!basename(url.pathname).endsWith('.json')) url.pathname = join(url.pathname, MANIFEST)
  return url.href
}

const isLoopback = ({ hostname }: URL): boolean => /^(127\.0\.0\.1|localhost|\[::1\])$/.test(hostname)

/** By https, where it is this machine also by http; a server elsewhere does not lead to this machine. */
function demandSafe(url: URL, asked: URL): void {
  const isSafe = isLoopback(url)
    ? isLoopback(asked) && /^https?:$/.test(url.protocol)
    : url.protocol === 'https:'
  if (!isSafe)
    throw new NotUsable(`${url.href} is not fetched: the URL must be https, or http from this machine.`)
}

async function download(asked: URL, most: number): Promise<Uint8Array> {
  const abort = new AbortController()
  let timer = setTimeout(() => abort.abort(), PATIENCE_MS)
  try {
    let url = asked
    for (let redirects = 0; redirects <= MOST_REDIRECTS; redirects += 1) {
      demandSafe(url, asked)
      const response = await fetch(url, { redirect: 'manual', signal: abort.signal })
      const location = response.headers.get('location')
      if (response.status >= 300 && response.status < 400 && location !== null) {
        url = new URL(location, url)
        continue
      }
      if (!response.ok) throw new NotUsable(`${url.href} answers ${response.status}.`)
      const chunks: Uint8Array[] = []
      let length = 0
      for await (const chunk of response.body ?? []) {
        length += chunk.length
        if (length > most) throw new NotUsable(`${url.href} has more than ${most} bytes, the limit.`)
        chunks.push(chunk)
        clearTimeout(timer)
        timer = setTimeout(() => abort.abort(), PATIENCE_MS)
      }
      return Buffer.concat(chunks)
    }
    throw new NotUsable(`${asked.href} redirects too often.`)
  } catch (error) {
    if (error instanceof NotUsable) throw error
    const { cause, message } = error as Error
    throw new NotUsable(
      `${asked.href} cannot be fetched (${cause instanceof Error ? cause.message : message}).`,
    )
  } finally {
    clearTimeout(timer)
    abort.abort()
  }
}
