import { globSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { megabytes } from './decode-memory.ts'
import { ask, type Start, type Started, startAnew } from './started.ts'

/**
 * `npm run bench -- vision`: what it costs `npm start` that local models see labels and faces, against the stand-in. The
 * same photos go to each, so many at once that the models are never idle. CPU and memory are those of the whole process
 * with its threads (Linux only). The processor's time says more than the clock, which other work on the machine slows.
 */
const AT_ONCE = 8
const PAUSE_MS = 20
/** Answers to GET /health that are timed before there is work. */
const SAMPLES = 300
/** Makes a process believe in so many processors: it starts one thread of the models less (packages/vision/index.ts). */
const asIfWithCores = (processors: number): string =>
  `--import=data:text/javascript,${encodeURIComponent(
    `import os from 'node:os'; import { syncBuiltinESMExports } from 'node:module'
     os.availableParallelism = () => ${processors}; syncBuiltinESMExports()`,
  )}`

/** The first is what the others are compared with. */
const WAYS: readonly { what: string; rekognition: string; options: string[] }[] = [
  { what: 'stand-in', rekognition: 'stand-in', options: [] },
  { what: 'local models', rekognition: 'local', options: [] },
  { what: 'local models, 2 threads', rekognition: 'local', options: [asIfWithCores(3)] },
  { what: 'local models, 4 threads', rekognition: 'local', options: [asIfWithCores(5)] },
]

interface Measured {
  firstAnswerMs: number
  cpuMs: number
  clockMs: number
  idle: number[]
  busy: number[]
  /** Bytes, in the order of the pictures. */
  memory: number[]
  peak: number
}

export async function vision(
  count: number,
  folders: readonly string[],
  ways = WAYS,
  samples = SAMPLES,
  start: Start = startAnew,
): Promise<object[]> {
  const photos = photosIn(folders)
  const rows: object[] = []
  let standIn: Measured | undefined
  for (const { what, rekognition, options } of ways) {
    const measured = await measure(start({ REKOGNITION: rekognition }, options), photos, { count, samples })
    standIn ??= measured
    rows.push(rowOf(what, measured, standIn))
    // It takes minutes for each.
    console.log(rows.at(-1))
  }
  return rows
}

function photosIn(folders: readonly string[]): Buffer[] {
  const files = folders.flatMap((folder) =>
    globSync('**/*.{jpg,jpeg}', { cwd: folder }).map((name) => join(folder, name)),
  )
  const photo = new URL('../test/fixtures/grace-hopper.jpg', import.meta.url)
  return (files.length > 0 ? files.sort() : [photo]).map((file) => readFileSync(file))
}

async function measure(
  system: Started,
  photos: Buffer[],
  { count, samples }: { count: number; samples: number },
): Promise<Measured> {
  try {
    const url = await system.url()
    // What is behind a picture makes it another one, and decoders pass over it.
    const send = async (number: number): Promise<void> => {
      const photo = photos[number % photos.length] ?? Buffer.alloc(0)
      const { imageId } = await ask(
        `${url}/images`,
        Buffer.concat([photo, Buffer.from(`picture ${number}`)]),
        'image/jpeg',
      )
      if (imageId !== undefined) await end(`${url}/images/${imageId}?wait=20`)
    }
    const began = performance.now()
    await send(0)
    const firstAnswerMs = performance.now() - began
    const idle = await latencies(url, (taken) => taken < samples)

    const memory: number[] = []
    const from = { cpu: system.processorMs(), clock: performance.now() }
    let next = 1
    const client = async (): Promise<void> => {
      while (next <= count) {
        await send(next++)
        memory.push(system.memory())
      }
    }
    const work = Promise.all(Array.from({ length: AT_ONCE }, client))
    let isDone = false
    const done = work.finally(() => {
      isDone = true
    })
    const busy = await latencies(url, () => !isDone)
    await done
    return {
      firstAnswerMs,
      cpuMs: (system.processorMs() - from.cpu) / count,
      clockMs: (performance.now() - from.clock) / count,
      idle,
      busy,
      memory,
      peak: system.peak(),
    }
  } finally {
    await system.stop()
  }
}

/** As a client waits, by one request: eight that poll every 20 ms would keep the process busier than the models do. */
async function end(address: string): Promise<void> {
  for (;;) {
    const { status } = (await (await fetch(address)).json()) as { status: string }
    if (status === 'completed' || status === 'failed') return
  }
}

/** Of GET /health, one after the other with a pause between them. */
async function latencies(url: string, goesOn: (taken: number) => boolean): Promise<number[]> {
  const taken: number[] = []
  while (goesOn(taken.length)) {
    const began = performance.now()
    await ask(`${url}/health`)
    taken.push(performance.now() - began)
    await new Promise((resolve) => setTimeout(resolve, PAUSE_MS))
  }
  return taken
}

function rowOf(what: string, measured: Measured, standIn: Measured): object {
  const { cpuMs, clockMs, firstAnswerMs, idle, busy, memory, peak } = measured
  const tenth = Math.ceil(memory.length / 10)
  return {
    what,
    'CPU a picture ÷ stand-in': ratio(cpuMs, standIn.cpuMs),
    'CPU s a picture': Number((cpuMs / 1000).toFixed(2)),
    'pictures/s a core': ratio(1000, cpuMs),
    'pictures/s by the clock ÷ stand-in': ratio(standIn.clockMs, clockMs),
    'first answer s': ratio(firstAnswerMs, 1000),
    'p99 of /health under load ÷ without': ratio(quantile(busy, 0.99), quantile(idle, 0.99)),
    'median ÷': ratio(quantile(busy, 0.5), quantile(idle, 0.5)),
    'p99 ms': `${quantile(busy, 0.99).toFixed(0)} of ${busy.length}`,
    'RSS MB after a tenth, half, all': [tenth, memory.length / 2, memory.length]
      .map((at) => megabytes(memory[Math.floor(at) - 1] ?? Number.NaN))
      .join(', '),
    'RSS last tenth ÷ first': ratio(mean(memory.slice(-tenth)), mean(memory.slice(0, tenth))),
    'peak MB': megabytes(peak),
  }
}

const ratio = (a: number, b: number): number => Number((a / b).toFixed(2))
const mean = (values: number[]): number => values.reduce((sum, value) => sum + value, 0) / values.length
const quantile = (values: number[], share: number): number =>
  values.toSorted((a, b) => a - b)[Math.min(values.length - 1, Math.floor(values.length * share))] ??
  Number.NaN
