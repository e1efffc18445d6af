import { type ChildProcess, execFileSync, spawn } from 'node:child_process'
import { once } from 'node:events'
import { existsSync, mkdirSync, readdirSync, readFileSync, writeFileSync } from 'node:fs'
import { dirname, join, relative, resolve } from 'node:path'
import { createInterface } from 'node:readline'
import { stripVTControlCharacters } from 'node:util'
import { deflateSync, gzipSync } from 'node:zlib'
import { zipSync } from 'fflate'
import sharp from 'sharp'
import { readOptions, runCommand, WrongUsage, wholeNumber } from '../../build/command.ts'
import { formatOf } from '../../packages/image-guard/format.ts'
import { seeded } from '../random.ts'
import { OutOfPatience, Patience, patiently } from '../until.ts'
import { judgeByLibvips } from './guard-oracle.ts'
import {
  exif,
  exifSegment,
  flat,
  frameBomb,
  frameRepeatingAvif,
  grid,
  insert,
  isoBoxes,
  jpegSegment,
  pngChunk,
  quarters,
  repeat,
  scanBomb,
  validFiles,
  withChunks,
  withSegments,
} from './pictures.ts'

/**
 * `npm run corpus -- <folder> [--json]`: sends every file of a folder through the API and the worker of a started system,
 * and prints what became of each. Ends with exit code 1 if one of them was answered with a 5xx or got no answer, took longer
 * than 10 s of the processor or of waiting, ended the process, was tried again although it failed for good, or ended as EXHAUSTED.
 * `npm run corpus -- --guards [folder] [--count 20000] [--seed 1]` asks libvips of each refusal of the worker's whether it
 * is right, of the files of a folder or of mutations, and ends with exit code 1 if one is not.
 * `npm run corpus -- --make <folder> [--count 3500] [--seed 1]` fills a folder with malformed and odd files, the same ones
 * each time.
 */

/** Files on their way at once. */
const AT_ONCE = 4
const HANG_MS = 10_000
/** What hangs is waited for so long on an idle machine, to see whether it ends. */
const GIVE_UP_MS = 60_000
/** Lines of the system's own complaints that are shown at the end. */
const SHOWN_COMPLAINTS = 10

interface Row {
  file: string
  bytes: number
  /** Of POST /images; 0 where there was no answer. */
  status: number
  /** `completed`, the code of the failure or of the refusal, `hang` or `crash`. */
  outcome: string
  attempts: number
  /** What it took: of the processor, as one of those that are under way, or of waiting on an idle machine. */
  ms: number
  /** The highest resident size of the process until then, in MB. */
  peakMb: number
  /** What this run is failed for. */
  fault?: string
}

interface Running {
  url: string
  child: ChildProcess
  complaints: string[]
  /** Settled when the process ends without a signal. */
  ended: Promise<'crash'>
}

const say = (line: string): void => {
  process.stdout.write(`${line}\n`)
}

const root = resolve(import.meta.dirname, '../..')

/** In a process of its own, so that its end and its hanging are seen from outside. */
async function start(): Promise<Running> {
  const child = spawn(
    process.execPath,
    ['--disable-warning=ExperimentalWarning', join(root, 'run.js'), 'local/main.ts'],
    {
      cwd: root,
      stdio: ['ignore', 'pipe', 'pipe'],
      env: {
        ...{ ...process.env, REKOGNITION: 'stand-in', PORT: '0', AWS_PORT: '0' },
        ...{ DATA_DIR: '', AWS_ENDPOINT_URL: '' },
        ...{ AUTH: 'none', NO_COLOR: '1', FORCE_COLOR: '' },
      },
    },
  )
  const complaints: string[] = []
  createInterface({ input: child.stderr }).on('line', (line) => complaints.push(line))
  const ended = once(child, 'exit').then(([code, signal]) => {
    complaints.push(`The process ended with ${signal ?? `exit code ${code}`}.`)
    return 'crash' as const
  })
  const ready = new Promise<string>((found) => {
    createInterface({ input: child.stdout }).on('line', (line) => {
      const url = /Page and API\s+(\S+)/.exec(stripVTControlCharacters(line))?.[1]
      if (url !== undefined) found(url)
    })
  })
  const url = await Promise.race([ready, ended])
  if (url === 'crash') throw new Error(`The system does not start.\n${complaints.join('\n')}`)
  return { url, child, complaints, ended }
}

async function stop({ child, ended }: Running): Promise<void> {
  child.kill('SIGTERM')
  await ended
}

/** The highest that was seen, where the system does not keep it. */
let highest = 0
function peakMb({ child: { pid } }: Running): number {
  try {
    const kept = /VmHWM:\s+(\d+) kB/.exec(readFileSync(`/proc/${pid}/status`, 'utf8'))?.[1]
    const kilobytes = Number(
      kept ?? execFileSync('ps', ['-o', 'rss=', '-p', String(pid)], { encoding: 'utf8' }),
    )
    highest = Math.max(highest, Math.round((kilobytes * 1024) / 1e6))
  } catch {
    // The process is gone.
  }
  return highest
}

/** Milliseconds of the processor that the process has had. */
function processorMs({ child: { pid } }: Running): number {
  try {
    // Fields 14 and 15 of proc_pid_stat(5), in hundredths of a second; the second may have spaces and brackets.
    const fields = readFileSync(`/proc/${pid}/stat`, 'utf8').split(') ').at(-1)?.split(' ') ?? []
    return (Number(fields[11]) + Number(fields[12])) * 10
  } catch {
    // Gone; or there is no /proc here, and waiting alone is counted.
    return 0
  }
}

interface Answer {
  imageId?: string
  code?: string
  status?: unknown
  attempts?: number
  failure?: { code: string }
}

async function push(system: Running, folder: string, file: string): Promise<Row> {
  const body = new Uint8Array(readFileSync(join(folder, file)))
  const [patience, before] = [new Patience(GIVE_UP_MS), processorMs(system)]
  const row: Row = { file, bytes: body.length, status: 0, outcome: '', attempts: 0, ms: 0, peakMb: 0 }
  try {
    const ask = (path: string, init: RequestInit = {}): Promise<[Response, Answer]> =>
      patiently('an answer', GIVE_UP_MS, async (signal) => {
        const answer = await fetch(`${system.url}${path}`, { ...init, signal })
        return [answer, (await answer.json()) as Answer]
      })
    const [answered, { imageId, code = '' }] = await ask(`/images?filename=${encodeURIComponent(file)}`, {
      method: 'POST',
      headers: { 'content-type': 'application/octet-stream' },
      body,
    })
    row.status = answered.status
    row.outcome = code
    while (answered.status === 202 && !patience.isOver()) {
      const [shown, image] = await ask(`/images/${imageId}?wait=10`)
      if (!shown.ok) {
        row.status = shown.status
        row.outcome = image.code ?? ''
        break
      }
      row.attempts = image.attempts ?? 0
      if (image.status === 'completed') row.outcome = 'completed'
      if (image.status === 'failed') row.outcome = image.failure?.code ?? 'failed'
      if (row.outcome !== '') break
    }
  } catch (error) {
    // No connection, or no answer in time; the caller, who knows the process, sees which.
    if (!(error instanceof TypeError || error instanceof OutOfPatience)) throw error
  }
  row.ms = Math.round(Math.max(patience.spent(), (processorMs(system) - before) / AT_ONCE))
  row.peakMb = peakMb(system)
  const fault = faultOf(row)
  if (row.outcome === '') row.outcome = 'hang'
  return fault === undefined ? row : { ...row, fault }
}

function faultOf({ status, outcome, attempts, ms }: Row): string | undefined {
  if (status >= 500) return '5xx'
  if (status === 0) return 'no answer'
  if (ms > HANG_MS) return 'hang'
  if (outcome === 'EXHAUSTED') return 'exhausted'
  if (status === 202 && outcome !== 'completed' && attempts > 1) return 'retried'
  return undefined
}

const FAULTS = ['5xx', 'no answer', 'hang', 'crash', 'retried', 'exhausted']

/** Every file's row, in the order in which they end. A system that crashes is started again for the rest. */
async function* pushAll(folder: string, files: string[], complaints: string[]): AsyncGenerator<Row> {
  const waiting = [...files]
  let system = await start()
  const underWay = new Map<string, Promise<Row>>()
  try {
    while (waiting.length > 0 || underWay.size > 0) {
      while (underWay.size < AT_ONCE && waiting.length > 0) {
        const file = waiting.shift() ?? ''
        underWay.set(file, push(system, folder, file))
      }
      const first = await Promise.race([...underWay.values(), system.ended])
      if (first !== 'crash' && first.status !== 0) {
        underWay.delete(first.file)
        yield first
        continue
      }
      // Without an answer: either the process is gone, or soon will be seen to be.
      const gone = await Promise.race([system.ended, new Promise<void>((later) => setTimeout(later, 500))])
      const rows = gone === 'crash' || first === 'crash' ? await Promise.all(underWay.values()) : [first]
      for (const row of rows) {
        underWay.delete(row.file)
        const lost = row.outcome === 'hang'
        yield lost && gone === 'crash' ? { ...row, outcome: 'crash', fault: 'crash' } : row
      }
      if (gone === 'crash') {
        complaints.push(...system.complaints)
        system = await start()
      }
    }
  } finally {
    complaints.push(...system.complaints)
    await stop(system)
  }
}

function summary(rows: Row[], ms: number): string {
  const count = (those: Row[]): string => {
    const codes = new Map<string, number>()
    for (const { outcome } of those) codes.set(outcome, (codes.get(outcome) ?? 0) + 1)
    const listed = [...codes].sort(([, a], [, b]) => b - a).map(([code, times]) => `${code} ${times}`)
    return `${those.length}${those.length > 0 ? ` (${listed.join(', ')})` : ''}`
  }
  const completed = rows.filter((row) => row.outcome === 'completed')
  const refused = rows.filter((row) => row.status >= 400)
  const failed = rows.filter((row) => row.status < 400 && row.outcome !== 'completed')
  const slowest = rows.reduce<Row | undefined>((a, b) => (a === undefined || b.ms > a.ms ? b : a), undefined)
  const faults = FAULTS.map((fault) => `${rows.filter((row) => row.fault === fault).length} ${fault}`)
  return [
    `${rows.length} files: ${completed.length} completed, failed ${count(failed)}, refused ${count(refused)}`,
    faults.join(', '),
    `slowest ${((slowest?.ms ?? 0) / 1000).toFixed(1)} s ${slowest?.file ?? ''}`,
    `peak ${highest} MB`,
    `${Math.round(ms / 1000)} s`,
  ].join('; ')
}

const line = ({ status, outcome, attempts, ms, peakMb: peak, fault, file }: Row): string =>
  [
    String(status).padStart(3),
    outcome.padEnd(20),
    String(attempts),
    `${(ms / 1000).toFixed(2)} s`.padStart(8),
    `${peak} MB`.padStart(7),
    fault === undefined ? file : `${file}  ← ${fault}`,
  ].join('  ')

async function run(folder: string, json: boolean): Promise<boolean> {
  const files = readdirSync(folder, { recursive: true, withFileTypes: true })
    .filter((entry) => entry.isFile())
    .map((entry) => relative(folder, join(entry.parentPath, entry.name)))
    .sort()
  const began = performance.now()
  const rows: Row[] = []
  const complaints: string[] = []
  const terminal = process.stderr.isTTY
  for await (const row of pushAll(folder, files, complaints)) {
    rows.push(row)
    if (!json) say(line(row))
    if (terminal) process.stderr.write(`${rows.length} of ${files.length}\u001b[K\r`)
  }
  if (terminal) process.stderr.write('\u001b[K')
  const told = summary(rows, performance.now() - began)
  const good = rows.every((row) => row.fault === undefined)
  if (json) say(JSON.stringify({ files: rows, summary: told, peakMb: highest, good }, null, 2))
  else {
    const faulty = rows.filter((row) => row.fault !== undefined)
    if (faulty.length > 0) say(`\nFaults:\n${faulty.map(line).join('\n')}`)
    if (complaints.length > 0) {
      const last = complaints.slice(-SHOWN_COMPLAINTS).join('\n')
      say(`\nThe system complained in ${complaints.length} lines, the last of which are:\n${last}`)
    }
    say(`\n${told}`)
  }
  return good
}

type Random = () => number
const below = (random: Random, limit: number): number => Math.floor(random() * limit)
const pick = <T>(random: Random, values: readonly [T, ...T[]]): T =>
  values[below(random, values.length)] ?? values[0]

/** Parts of a file that can be moved about: chunks, segments, boxes. */
function partsOf(file: Buffer): Buffer[] {
  const parts: Buffer[] = []
  const cut = (first: number, lengthAt: (at: number) => number): Buffer[] => {
    parts.push(file.subarray(0, first))
    for (let at = first; at < file.length; ) {
      const length = at + 8 <= file.length ? lengthAt(at) : file.length
      parts.push(file.subarray(at, at + length))
      at += length
    }
    return parts
  }
  if (file[0] === 0x89) return cut(8, (at) => 12 + file.readUInt32BE(at))
  if (file[0] === 0xff) {
    return cut(2, (at) => (file[at + 1] === 0xda ? file.length : 2 + file.readUInt16BE(at + 2)))
  }
  if (file.toString('latin1', 0, 4) === 'RIFF') {
    return cut(12, (at) => 8 + file.readUInt32LE(at + 4) + (file.readUInt32LE(at + 4) % 2))
  }
  if (file.toString('latin1', 4, 8) === 'ftyp') return isoBoxes(file).map(({ bytes }) => bytes)
  return cut(13, () => Math.max(1, Math.ceil(file.length / 8)))
}

/** PNG decoders look no further where a checksum is wrong. */
function withRightChecksums(png: Buffer): Buffer {
  const fixed = partsOf(png).map((part, index) =>
    index === 0 || part.length < 12
      ? part
      : pngChunk(part.toString('latin1', 4, 8), part.subarray(8, part.length - 4)),
  )
  return Buffer.concat(fixed)
}

const LIES = [0, 1, 2, 0x7f, 0x80, 0xff, 0x7fff, 0xffff, 0x7fffffff, 0x80000000, 0xffffffff] as const

type Mutation = (file: Buffer, random: Random, other: Buffer) => Buffer

function range(file: Buffer, random: Random): [from: number, to: number] {
  const from = below(random, file.length)
  return [from, Math.min(file.length, from + 1 + below(random, pick(random, [4, 64, 1_024])))]
}

const MUTATIONS: Record<string, Mutation> = {
  cut: (file, random) => file.subarray(0, below(random, file.length)),
  'cut-late': (file, random) => file.subarray(0, file.length - 1 - below(random, Math.min(64, file.length))),
  flip: (file, random) => {
    const copy = Buffer.from(file)
    for (let times = pick(random, [1, 1, 2, 8]); times > 0; times -= 1) {
      const at = below(random, copy.length)
      copy[at] = (copy[at] ?? 0) ^ (1 << below(random, 8))
    }
    return copy
  },
  'flip-head': (file, random) => {
    const copy = Buffer.from(file)
    const at = below(random, Math.min(copy.length, 256))
    copy[at] = (copy[at] ?? 0) ^ (1 << below(random, 8))
    return copy
  },
  zero: (file, random) => Buffer.from(file).fill(0, ...range(file, random)),
  ones: (file, random) => Buffer.from(file).fill(0xff, ...range(file, random)),
  noise: (file, random) => {
    const copy = Buffer.from(file)
    const [from, to] = range(file, random)
    for (let at = from; at < to; at += 1) copy[at] = below(random, 256)
    return copy
  },
  delete: (file, random) => {
    const [from, to] = range(file, random)
    return Buffer.concat([file.subarray(0, from), file.subarray(to)])
  },
  duplicate: (file, random) =>
    insert(file, below(random, file.length), file.subarray(...range(file, random))),
  lie: (file, random) => {
    const copy = Buffer.from(file)
    const size = pick(random, [1, 2, 4])
    const at = below(random, Math.max(1, Math.min(copy.length, 512) - size))
    const value = pick(random, LIES) % 256 ** size
    if (at + size <= copy.length) {
      if (random() < 0.5) copy.writeUIntBE(value, at, size)
      else copy.writeUIntLE(value, at, size)
    }
    return copy
  },
  swap: (file, random) => {
    const parts = partsOf(file)
    const [a, b] = [1 + below(random, parts.length - 1), 1 + below(random, parts.length - 1)]
    const [first, second] = [parts[a], parts[b]]
    if (first !== undefined && second !== undefined) {
      parts[a] = second
      parts[b] = first
    }
    return Buffer.concat(parts)
  },
  'drop-part': (file, random) => {
    const parts = partsOf(file)
    parts.splice(1 + below(random, parts.length), 1)
    return Buffer.concat(parts)
  },
  'repeat-part': (file, random) => {
    const parts = partsOf(file)
    const at = 1 + below(random, parts.length)
    parts.splice(at, 0, ...Array(pick(random, [1, 2, 50])).fill(parts[at] ?? Buffer.alloc(0)))
    return Buffer.concat(parts)
  },
  join: (file, random, other) => Buffer.concat([file.subarray(0, below(random, file.length)), other]),
  append: (file, _random, other) => Buffer.concat([file, other]),
}
const MUTATION_NAMES = Object.keys(MUTATIONS) as [string, ...string[]]

/** Mutations of valid files, the same ones from the same seed. */
export async function* mutations(
  count: number,
  seed: number,
): AsyncGenerator<{ name: string; bytes: Buffer }> {
  const random = seeded(seed)
  const files = [...(await validFiles())] as [[string, Buffer], ...[string, Buffer][]]
  for (let number = 0; number < count; number += 1) {
    // Each file in its turn, so that the costlier ones are not left to chance.
    const [name, file] = files[number % files.length] ?? files[0]
    let bytes = file
    const made: string[] = []
    for (let times = pick(random, [1, 1, 1, 2, 4]); times > 0 && bytes.length > 8; times -= 1) {
      const mutation = pick(random, MUTATION_NAMES)
      made.push(mutation)
      bytes = MUTATIONS[mutation]?.(bytes, random, pick(random, files)[1]) ?? bytes
    }
    if (bytes[0] === 0x89 && random() < 0.7) bytes = withRightChecksums(bytes)
    const [stem, extension] = name.split('.')
    yield { name: `${stem}-${number}-${made.join('-')}.${extension}`, bytes }
  }
}

/** Files that are odd in ways of their own: each one has its name. */
async function* oddFiles(): AsyncGenerator<{ name: string; bytes: Buffer }> {
  const valid = await validFiles()
  const file = (name: string): Buffer => valid.get(name) ?? Buffer.alloc(0)
  for (const [name, bytes] of valid) {
    yield { name: `valid/${name}`, bytes }
    for (const part of [0.01, 0.05, 0.1, 0.25, 0.5, 0.75, 0.9, 0.95, 0.99]) {
      yield { name: `cut/${part}-${name}`, bytes: bytes.subarray(0, Math.floor(bytes.length * part)) }
    }
    for (const left of [1, 2, 4, 12]) {
      yield { name: `cut/all-but-${left}-${name}`, bytes: bytes.subarray(0, bytes.length - left) }
    }
    yield { name: `more/zeros-after-${name}`, bytes: Buffer.concat([bytes, Buffer.alloc(10_000)]) }
    yield { name: `more/twice-${name}`, bytes: Buffer.concat([bytes, bytes]) }
    yield { name: `more/zip-after-${name}`, bytes: Buffer.concat([bytes, zip]) }
    yield { name: `more/svg-after-${name}`, bytes: Buffer.concat([bytes, svg]) }
    yield { name: `more/svg-before-${name}`, bytes: Buffer.concat([svg, bytes]) }
    yield { name: `extension/${name}.${name.endsWith('.jpg') ? 'png' : 'jpg'}`, bytes }
  }
  const jpeg = file('baseline.jpg')
  const png = file('rgb.png')
  for (const orientation of [0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 255, 65_535]) {
    const data = exif(0x0112, 3, 1, orientation)
    yield { name: `orientation/${orientation}.jpg`, bytes: withSegments(jpeg, exifSegment(data)) }
    yield { name: `orientation/${orientation}.png`, bytes: withChunks(png, pngChunk('eXIf', data)) }
  }
  for (const [name, data] of Object.entries({
    empty: Buffer.alloc(0),
    'without-end': exif(0x0112, 3, 1, 6).subarray(0, 12),
    'of-no-type': exif(0x0112, 99, 1, 6),
    'of-many-values': exif(0x0112, 3, 0xffffffff, 6),
    'in-a-loop': exif(0x8769, 4, 1, 8),
    'out-of-bounds': exif(0x010f, 2, 5_000, 0x7fffffff),
    noise: Buffer.from(Array.from({ length: 500 }, (_, at) => (at * 7919) % 256)),
  })) {
    yield { name: `exif/${name}.jpg`, bytes: withSegments(jpeg, exifSegment(data)) }
    yield { name: `exif/${name}.png`, bytes: withChunks(png, pngChunk('eXIf', data)) }
  }
  const profile = (await sharp(file('p3.jpg')).metadata()).icc ?? Buffer.alloc(0)
  const lying = Buffer.from(profile)
  lying.write('GRAY', 16)
  for (const [name, data] of Object.entries({
    cut: profile.subarray(0, 100),
    'of-grey': lying,
    noise: Buffer.from(Array.from({ length: 500 }, (_, at) => (at * 7919) % 256)),
    empty: Buffer.alloc(0),
  })) {
    const segment = jpegSegment(0xe2, Buffer.concat([Buffer.from('ICC_PROFILE\0\x01\x01'), data]))
    yield { name: `icc/${name}.jpg`, bytes: withSegments(jpeg, segment) }
    const chunk = pngChunk('iCCP', Buffer.concat([Buffer.from('a\0\0'), deflateSync(data)]))
    yield { name: `icc/${name}.png`, bytes: withChunks(png, chunk) }
  }
  for (const [width, height] of [
    [1, 1],
    [79, 200],
    [80, 80],
    [80, 79],
    [80, 10_000],
    [10_001, 80],
    [20_000, 100],
    [80, 65_000],
  ] as const) {
    const picture = flat(width, height)
    yield { name: `size/${width}x${height}.jpg`, bytes: await picture.clone().jpeg().toBuffer() }
    yield { name: `size/${width}x${height}.png`, bytes: await picture.clone().png().toBuffer() }
    if (Math.max(width, height) > 16_383) continue
    yield {
      name: `size/${width}x${height}.webp`,
      bytes: await picture.clone().webp({ effort: 0 }).toBuffer(),
    }
    yield { name: `size/${width}x${height}.gif`, bytes: await picture.clone().gif().toBuffer() }
    yield {
      name: `size/${width}x${height}.avif`,
      bytes: await picture.clone().avif({ effort: 0 }).toBuffer(),
    }
  }
  yield { name: 'size/1000000x80.png', bytes: await flat(1_000_000, 80).png().toBuffer() }
  const strip = flat(1_000_000, 100).ensureAlpha(0.5).toColourspace('rgb16')
  yield { name: 'size/1000000x100-16-bit.png', bytes: await strip.png().toBuffer() }
  yield* bombs(jpeg, png)
  const noise = seeded(7)
  for (let number = 0; number < 20; number += 1) {
    const bytes = Buffer.from(Array.from({ length: 2 ** number }, () => below(noise, 256)))
    yield { name: `none/noise-${number}.bin`, bytes }
    const [, ...heads] = [0, ...Object.values(HEADS)]
    const head = heads[number % heads.length] ?? Buffer.alloc(0)
    yield { name: `none/noise-after-head-${number}.bin`, bytes: Buffer.concat([head, bytes]) }
  }
  for (const [name, head] of Object.entries(HEADS)) yield { name: `none/head-only.${name}`, bytes: head }
  for (const [name, bytes] of Object.entries(NO_IMAGES)) yield { name: `none/${name}`, bytes }
  for (const [name, brand] of Object.entries({ heic: 'heic', mp4: 'isom', avis: 'avis', jxl: 'jxl ' })) {
    const bytes = Buffer.from(file('8-bit.avif'))
    bytes.write(brand, 8)
    bytes.write(brand, 16)
    yield { name: `brand/${name}.avif`, bytes }
  }
  yield { name: 'turned/quarters.png', bytes: await (await quarters()).png().toBuffer() }
}

const svg = Buffer.from('<svg xmlns="http://www.w3.org/2000/svg" width="100" height="100"/>')
const zip = Buffer.from(zipSync({ 'a.txt': Buffer.from('a') }, { mtime: '2000-01-01' }))

/** First bytes of the accepted formats. */
const HEADS = {
  jpg: Buffer.from([0xff, 0xd8, 0xff]),
  png: Buffer.from('\x89PNG\r\n\x1a\n', 'latin1'),
  gif: Buffer.from('GIF89a'),
  webp: Buffer.from('RIFF\x10\0\0\0WEBPVP8 ', 'latin1'),
  avif: Buffer.from('\0\0\0\x18ftypavif\0\0\0\0avifmif1', 'latin1'),
}
const NO_IMAGES: Record<string, Buffer> = {
  'empty.jpg': Buffer.alloc(0),
  'zeros.jpg': Buffer.alloc(10_000),
  'picture.svg': svg,
  'picture.svgz': gzipSync(svg),
  'document.pdf': Buffer.from('%PDF-1.4\n%%EOF\n'),
  'little.tiff': Buffer.from('II*\0\b\0\0\0\0\0', 'latin1'),
  'big.tiff': Buffer.from('MM\0*\0\0\0\b\0\0', 'latin1'),
  'picture.ppm': Buffer.from('P6 1 1 255\nrgb'),
  'picture.bmp': Buffer.from('BM\x1a\0\0\0\0\0\0\0\x1a\0\0\0\x0c\0\0\0\x01\0\x01\0\x01\0\x18\0', 'latin1'),
  'icon.ico': Buffer.from('\0\0\x01\0\x01\0\x01\x01\0\0', 'latin1'),
  'text.txt': Buffer.from('not an image\n'),
  'page.html': Buffer.from('<!doctype html><script>alert(1)</script>'),
  'data.json': Buffer.from('{"image":"not an image"}'),
  'archive.zip': zip,
  'archive.gz': gzipSync('a'),
  'picture.hdr': Buffer.from('#?RADIANCE\nFORMAT=32-bit_rle_rgbe\n\n-Y 1 +X 1\nrgbe'),
  'picture.jxl': Buffer.from('\xff\x0a\x00\x00', 'latin1'),
  'picture.jp2': Buffer.from('\0\0\0\x0cjP  \r\n\x87\n', 'latin1'),
}

/** Small files that mean much work, and the largest flat pictures. */
async function* bombs(jpeg: Buffer, png: Buffer): AsyncGenerator<{ name: string; bytes: Buffer }> {
  const much = 4_400_000
  const zeros = deflateSync(Buffer.alloc(100_000_000))
  const text = pngChunk('zTXt', Buffer.concat([Buffer.from('Comment\0\0'), zeros]))
  const profile = pngChunk('iCCP', Buffer.concat([Buffer.from('a\0\0'), zeros]))
  const times = (unit: Buffer): Buffer => repeat(unit, Math.floor(much / unit.length))
  const made: Record<string, () => Buffer | Promise<Buffer>> = {
    'text.png': () => withChunks(png, times(text)),
    'profile.png': () => withChunks(png, profile),
    'profiles.png': () => withChunks(png, times(profile)),
    'empty-data.png': () => insert(png, png.indexOf('IDAT') - 4, times(pngChunk('IDAT', Buffer.alloc(0)))),
    'densities.png': () => withChunks(png, times(pngChunk('pHYs', Buffer.alloc(9)))),
    'comments.jpg': () => withSegments(jpeg, times(jpegSegment(0xfe, Buffer.from('a')))),
    'exif.jpg': () => withSegments(jpeg, times(exifSegment(Buffer.alloc(0)))),
    'profiles.jpg': () => withSegments(jpeg, times(jpegSegment(0xe2, Buffer.from('ICC_PROFILE\0\x01\x01x')))),
    'fill.jpg': () => withSegments(jpeg, Buffer.alloc(much, 0xff)),
    'scans-30.jpg': () => scanBomb(8_000, 30),
    'scans-90.jpg': () => scanBomb(8_000, 90),
    'scans-800.jpg': () => scanBomb(8_000, 800),
    'frames.gif': () => frameBomb('gif', 300_000),
    'frames-9000.gif': () => frameBomb('gif', 9_000),
    'frames.webp': () => frameBomb('webp', 80_000),
    'frames-9000.webp': () => frameBomb('webp', 9_000),
    'frames.avif': () => frameRepeatingAvif(4_900, 1_000),
    'cells.avif': () => grid(4_000, 10, 10, 4_000),
    'cells-of-16.avif': () => grid(16, 200, 200, 3_200),
    'screen.gif': () => Buffer.from('GIF89a\xff\xff\xff\xff\0\0\0;', 'latin1'),
    '16000.png': () => flat(16_000, 16_000).png().toBuffer(),
    '10000.png': () => flat(10_000, 10_000).png().toBuffer(),
    '7500-interlaced.png': () => flat(7_500, 7_500).png({ progressive: true }).toBuffer(),
    '15000.jpg': () => flat(15_000, 15_000).jpeg({ quality: 10 }).toBuffer(),
    '8700-progressive.jpg': () =>
      flat(8_700, 8_700).jpeg({ progressive: true, chromaSubsampling: '4:4:4' }).toBuffer(),
    '9000.gif': () => flat(9_000, 9_000).gif({ effort: 1 }).toBuffer(),
    '16383x3600.webp': () => flat(16_383, 3_600).webp({ effort: 0 }).toBuffer(),
    '16383x3600-lossless.webp': () =>
      flat(16_383, 3_600).ensureAlpha(0.5).webp({ effort: 0, lossless: true }).toBuffer(),
    '4950.avif': () => flat(4_950, 4_950).avif({ effort: 0 }).toBuffer(),
    '6000.avif': () => flat(6_000, 6_000).avif({ effort: 0 }).toBuffer(),
    'more-than-is-taken.jpg': () => Buffer.concat([jpeg, Buffer.alloc(4_500_000)]),
    'much-more-than-is-taken.jpg': () => Buffer.concat([jpeg, Buffer.alloc(40_000_000)]),
  }
  for (const [name, make] of Object.entries(made)) yield { name: `bomb/${name}`, bytes: await make() }
}

/** All odd files, and mutations until there are `count`. */
async function* makeFiles(count: number, seed: number): AsyncGenerator<{ name: string; bytes: Buffer }> {
  let made = 0
  for await (const odd of oddFiles()) {
    made += 1
    yield odd
  }
  for await (const { name, bytes } of mutations(Math.max(0, count - made), seed)) {
    yield { name: `mutated/${name}`, bytes }
  }
}

/** @returns whether libvips has no objection */
async function runGuards(files: AsyncIterable<{ name: string; bytes: Buffer }>): Promise<boolean> {
  const counts = new Map<string, number>()
  let done = 0
  let alarms = 0
  const waiting = files[Symbol.asyncIterator]()
  const rest = async (): Promise<void> => {
    for (let next = await waiting.next(); !next.done; next = await waiting.next()) {
      const { name, bytes } = next.value
      const { code, falseAlarm } = await judgeByLibvips(bytes)
      const key = `${formatOf(bytes)?.name ?? 'another format'}  ${code}`
      counts.set(key, (counts.get(key) ?? 0) + 1)
      done += 1
      if (done % 100 === 0 && process.stderr.isTTY) process.stderr.write(`${done} files\u001b[K\r`)
      if (falseAlarm === undefined) continue
      alarms += 1
      say(`${name}: ${falseAlarm}`)
    }
  }
  await Promise.all(Array.from({ length: AT_ONCE }, rest))
  for (const [key, count] of [...counts].sort()) say(`${String(count).padStart(7)}  ${key}`)
  say(`${done} files, ${alarms} refused that libvips decodes within the caps`)
  return alarms === 0
}

async function* filesOf(folder: string): AsyncGenerator<{ name: string; bytes: Buffer }> {
  for (const entry of readdirSync(folder, { recursive: true, withFileTypes: true })) {
    const path = join(entry.parentPath, entry.name)
    if (entry.isFile()) yield { name: relative(folder, path), bytes: readFileSync(path) }
  }
}

const WANTED =
  'npm run corpus takes <folder> [--json], --guards [folder] [--count <files>] [--seed <number>], or --make <folder> [--count <files>] [--seed <number>].'

const USAGE = `npm run corpus -- <folder> [--json]
npm run corpus -- --guards [folder] [--count N] [--seed N]
npm run corpus -- --make <folder> [--count N] [--seed N]

Sends all files of a folder through API and worker, and says of each how it ended: no crash, no hang, no 5xx.

  --json         one object of all
  --guards       asks of the same files, or of made ones, whether libvips decodes what is refused
  --make FOLDER  writes odd files there
  --count N      files that are made (3500)
  --seed N       of the made ones: the same seed has the same ones (1)
  -h, --help`

async function main(): Promise<void> {
  const { values, positionals } = readOptions('npm run corpus', USAGE, {
    allowPositionals: true,
    options: {
      json: { type: 'boolean', default: false },
      make: { type: 'string' },
      guards: { type: 'boolean', default: false },
      count: { type: 'string', default: '3500' },
      seed: { type: 'string', default: '1' },
    },
  })
  // npm runs scripts in the package's folder; a relative path is meant from where the person stands.
  const here = process.env['INIT_CWD'] ?? '.'
  const [folder] = positionals
  const [count, seed] = [wholeNumber('--count', values.count), wholeNumber('--seed', values.seed)]
  if (positionals.length > 1) throw new WrongUsage(WANTED)
  if (!existsSync(resolve(here, folder ?? ''))) throw new WrongUsage(`There is no folder ${folder}.`)
  if (values.guards) {
    const files = folder === undefined ? mutations(count, seed) : filesOf(resolve(here, folder))
    process.exitCode = (await runGuards(files)) ? 0 : 1
    return
  }
  if ((folder === undefined) === (values.make === undefined)) throw new WrongUsage(WANTED)
  if (values.make !== undefined) {
    const target = resolve(here, values.make)
    let made = 0
    for await (const { name, bytes } of makeFiles(count, seed)) {
      mkdirSync(dirname(join(target, name)), { recursive: true })
      writeFileSync(join(target, name), bytes)
      made += 1
    }
    say(`${made} files in ${target}`)
  } else if (folder !== undefined) {
    process.exitCode = (await run(resolve(here, folder), values.json)) ? 0 : 1
  }
}

if (process.argv[1] !== undefined && resolve(process.argv[1]) === import.meta.filename) await runCommand(main)
