import { type ChildProcess, spawn } from 'node:child_process'
import { once } from 'node:events'
import { resolve } from 'node:path'
import { text } from 'node:stream/consumers'
import sharp, { type Metadata } from 'sharp'
import {
  createDecoder,
  createRender,
  DECODE_BYTES,
  DECODE_SECONDS,
  type Kind,
  MAX_PIXELS,
  Refusal,
} from '../../packages/image-guard/index.ts'

/**
 * An oracle for the guards: libvips without them. What it decodes whole, within the memory and the pixels that an image may
 * take, is not to be refused.
 */

/** Caps that libvips does not have: the words of their refusals, and what is counted of a file, at the least. */
const OWN_CAPS: [words: RegExp, least: (file: Buffer) => number][] = [
  [/more than (\d+) segments/, (file) => occurrences(file, /\xff[\xe0-\xef\xfe\xc0-\xdf]/g)],
  [/more than (\d+) scans/, (file) => occurrences(file, /\xff\xda/g)],
  [/more than (\d+) frames/, (file) => occurrences(file, /ANMF|\x2c/g)],
]
const occurrences = (file: Buffer, pattern: RegExp): number =>
  file.toString('latin1').match(pattern)?.length ?? 0

/** `decoded`, or the code of the refusal; and what is wrong with that, if something is. */
export interface Judged {
  code: string
  falseAlarm?: string
}

/** @throws what is no refusal */
export async function judgeByLibvips(bytes: Buffer): Promise<Judged> {
  try {
    await createRender(createDecoder())(bytes, 's3')
    return { code: 'decoded' }
  } catch (error) {
    if (!(error instanceof Refusal)) throw error
    const { code, message } = error
    const known = await metadataOf(bytes)
    const why = known === undefined ? undefined : await objection(bytes, known, code, message)
    return why === undefined ? { code } : { code, falseAlarm: `${message} But ${why}.` }
  }
}

/** By what browsers recognise our formats (MIME Sniffing Standard, section 6.1); libvips takes two bytes for a JPEG. */
const BEGINNINGS = ['ffd8ff', '89504e470d0a1a0a', '474946383761', '474946383961']
const doBrowsersTell = (bytes: Buffer): boolean =>
  BEGINNINGS.some((hex) => bytes.subarray(0, hex.length / 2).toString('hex') === hex) ||
  bytes.toString('latin1', 8, 14) === 'WEBPVP' ||
  /^ftypavi[fs]$/.test(bytes.toString('latin1', 4, 12))

const ACCEPTED = ['jpeg', 'png', 'webp', 'gif', 'heif']
const INPUT = { failOn: 'warning', limitInputPixels: false, pages: 1 } as const

async function metadataOf(bytes: Buffer): Promise<Metadata | undefined> {
  try {
    return await sharp(bytes, INPUT).metadata()
  } catch {
    return undefined
  }
}

async function objection(
  bytes: Buffer,
  known: Metadata,
  code: string,
  message: string,
): Promise<string | undefined> {
  const size = `libvips reads ${known.format} of ${known.width} × ${known.height}`
  if (code === 'IMAGE_TOO_SMALL') return Math.min(known.width, known.height) < 80 ? undefined : size
  const isAccepted =
    ACCEPTED.includes(known.format) && (known.format !== 'heif' || known.compression === 'av1')
  if (code === 'UNSUPPORTED_FORMAT') return isAccepted && doBrowsersTell(bytes) ? size : undefined
  if (!isAccepted || known.width * known.height > MAX_PIXELS[kindOf(known)]) return undefined
  for (const [words, least] of OWN_CAPS) {
    const cap = words.exec(message)?.[1]
    if (cap !== undefined) return least(bytes) > Number(cap) ? undefined : size
  }
  // Nearly all of these are not decoded by libvips either, and soon it says so.
  if (code === 'CORRUPT_IMAGE' && !(await isDecoded(bytes))) return undefined
  const { ok, bytes: memory, seconds } = await decodeAlone(bytes)
  if (!ok || memory > DECODE_BYTES || seconds > DECODE_SECONDS) return undefined
  return `${size}, in ${Math.round(memory / 1e6)} MB and ${seconds.toFixed(1)} s`
}

const isDecoded = (bytes: Buffer): Promise<boolean> =>
  sharp(bytes, INPUT)
    .resize(128, 128, { fit: 'fill' })
    .raw()
    .toBuffer()
    .then(
      () => true,
      () => false,
    )

function kindOf({ format, isProgressive, space, orientation = 1, bitsPerSample = 8 }: Metadata): Kind {
  if (format === 'jpeg') {
    if (!isProgressive) return 'jpeg'
    return space === 'cmyk' ? 'progressive cmyk jpeg' : 'progressive jpeg'
  }
  if (format === 'png') return isProgressive || orientation > 1 ? 'interlaced or turned png' : 'png'
  if (format === 'heif') return bitsPerSample > 8 ? 'deep avif' : 'avif'
  return format === 'webp' ? 'webp' : 'gif'
}

const CHILD = `
import sharp from 'sharp'
import { buffer } from 'node:stream/consumers'
import { readFileSync } from 'node:fs'
sharp.cache(false)
sharp.concurrency(1)
const bytes = await buffer(process.stdin)
const highest = () => Number(/VmHWM:\\s+(\\d+)/.exec(readFileSync('/proc/self/status', 'utf8'))?.[1] ?? 0) * 1024
const [before, began] = [highest(), process.cpuUsage()]
const ok = await sharp(bytes, ${JSON.stringify(INPUT)}).resize(128, 128, { fit: 'fill' }).raw().toBuffer().then(() => true, () => false)
const { user, system } = process.cpuUsage(began)
console.log(JSON.stringify({ ok, bytes: highest() - before, seconds: (user + system) / 1e6 }))`

/** In a process of its own, whose memory is looked at. */
async function decodeAlone(bytes: Buffer): Promise<{ ok: boolean; bytes: number; seconds: number }> {
  const child: ChildProcess = spawn(process.execPath, ['--input-type=module', '-e', CHILD], {
    cwd: resolve(import.meta.dirname, '../..'),
    stdio: ['pipe', 'pipe', 'inherit'],
    timeout: 120_000,
  })
  child.stdin?.end(bytes)
  const [said, [status]] = await Promise.all([
    text(child.stdout as NonNullable<ChildProcess['stdout']>),
    once(child, 'exit'),
  ])
  // What ends the process, or takes minutes, is rightly refused.
  return status === 0 ? JSON.parse(said) : { ok: false, bytes: 0, seconds: 0 }
}
