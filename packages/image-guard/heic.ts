import { readFile } from 'node:fs/promises'
import { createRequire } from 'node:module'
import { Worker } from 'node:worker_threads'

/** Pixels of 8 bits, upright: libheif turns, mirrors and crops as the file says. */
export interface HeicPixels {
  data: Uint8Array
  width: number
  height: number
  channels: 3 | 4
}

/** libheif was there, and had its say on the picture. */
export class Undecodable extends Error {}

/** The package with libheif, which is optional. */
const PACKAGE = 'libheif-js'
const codeFile = (): string => createRequire(import.meta.url).resolve(`${PACKAGE}/libheif-wasm/libheif.wasm`)

/** Compiled once, so that what V8 has made quick of it is quick for the next picture too. */
let code: Promise<WebAssembly.Module> | undefined
const compile = async (): Promise<WebAssembly.Module> => WebAssembly.compile(await readFile(codeFile()))

/** @throws Error that says how to mend it, where the decoder is not installed */
export function demandHeicDecoder(): void {
  try {
    codeFile()
  } catch (cause) {
    throw new Error(
      `HEIC=on needs the package ${PACKAGE}, which is not installed: run "npm ci --include=optional", or for AWS "npm run build -- --heic".`,
      { cause },
    )
  }
}

/**
 * Decodes the primary picture of a HEIC, in a thread of its own: libheif as WebAssembly blocks its thread for a second or
 * more, and can be stopped only with it. Each picture gets a new thread, of 0.1 s, because the memory of WebAssembly never
 * shrinks, and so that nothing of one file is left for the next.
 *
 * @param mostBytes of memory that libheif may have
 * @param inTime fails where the answer takes too long
 * @throws Undecodable; what `inTime` fails with; Error where the decoder cannot be loaded
 */
export async function decodeHeic(
  bytes: Uint8Array,
  mostBytes: number,
  inTime: (answer: Promise<HeicPixels>) => Promise<HeicPixels>,
): Promise<HeicPixels> {
  code ??= compile().catch((error) => {
    code = undefined
    throw error
  })
  // Shared, since a message of a thread that fails comes after its failure.
  const isLoaded = new Uint8Array(new SharedArrayBuffer(1))
  const thread = new Worker(new URL('./heic-thread.mjs', import.meta.url), {
    workerData: { bytes, code: await code, mostBytes, isLoaded },
    // What this process was started with is not for a thread: run.js has it listen to a channel.
    execArgv: [],
    resourceLimits: { maxOldGenerationSizeMb: 64 },
    stdout: true,
    stderr: true,
  })
  const answer = new Promise<HeicPixels>((resolve, reject) => {
    const fail = (cause: unknown): void =>
      reject(isLoaded[0] === 1 ? new Undecodable('libheif cannot decode it.', { cause }) : cause)
    thread.on('message', resolve)
    thread.on('error', fail)
    thread.on('exit', () => fail(new Error('The thread of the HEIC decoder ended.')))
  })
  try {
    return await inTime(answer)
  } finally {
    await thread.terminate()
  }
}
