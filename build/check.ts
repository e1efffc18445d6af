import { fork } from 'node:child_process'
import { once } from 'node:events'
import { existsSync, readFileSync } from 'node:fs'
import { mkdir, mkdtemp, rm, writeFile } from 'node:fs/promises'
import { createServer } from 'node:http'
import { stripTypeScriptTypes } from 'node:module'
import type { AddressInfo } from 'node:net'
import { tmpdir } from 'node:os'
import { dirname, join } from 'node:path'
import { isDeepStrictEqual } from 'node:util'
import { type FunctionName, ROOT } from './bundle.ts'
import { httpEvent, restEvent, sqsEvent } from './events.ts'
import type { Answer } from './invoke.ts'
import { type Arch, type Libc, platformOf } from './sharp.ts'
import { unzip } from './zip.ts'

/** Milliseconds. Loading and a few events take under one second on a slow machine. */
const DEADLINE_MS = 30_000

/** Node of the version that Lambda has, which `npm ci` brings along (package.json); without it, the one that runs this. */
function pinnedNode(): string {
  const machine = `${process.platform === 'win32' ? 'win' : process.platform}-${process.arch}`
  const folders = [`node-${machine}`, `node-bin-${machine}`].map((name) => join(ROOT, 'node_modules', name))
  const file = process.platform === 'win32' ? 'node.exe' : 'node'
  return folders.map((folder) => join(folder, 'bin', file)).find(existsSync) ?? process.execPath
}

/** What runs a function, without its types: each process would load a compiler for them. */
const runtime = (): string =>
  stripTypeScriptTypes(readFileSync(join(import.meta.dirname, 'invoke.ts'), 'utf8'))

/** A function that runs from its zip. */
export interface Running {
  /** @throws Error that the function threw, or that says how it ended */
  call: (event: unknown) => Promise<unknown>
  /** What the function has written so far, its log above all. */
  output: () => string
  /** The files of the zip that have been loaded so far. */
  loaded: () => Set<string>
  stop: () => Promise<void>
}

/**
 * Unpacks a zip where no node_modules is within reach, and loads it in a process of its own with the environment that
 * Lambda would give it.
 *
 * @param environment the function's own variables, and where AWS is
 * @param timeout milliseconds after which the process is ended, if it has to be
 */
export async function startFunction(
  zip: Uint8Array,
  environment: Record<string, string>,
  timeout?: number,
): Promise<Running> {
  const folder = await mkdtemp(join(tmpdir(), 'lambda-'))
  for (const [name, bytes] of Object.entries(unzip(zip))) {
    await mkdir(dirname(join(folder, name)), { recursive: true })
    await writeFile(join(folder, name), bytes)
  }
  const beside = `${folder}.mjs`
  await writeFile(beside, runtime())
  const child = fork(beside, [folder], {
    cwd: folder,
    execPath: pinnedNode(),
    execArgv: ['--disable-warning=ExperimentalWarning', '--enable-source-maps'],
    stdio: ['ignore', 'pipe', 'pipe', 'ipc'],
    timeout,
    env: {
      LAMBDA_TASK_ROOT: folder,
      AWS_LAMBDA_FUNCTION_NAME: 'check',
      AWS_LAMBDA_FUNCTION_MEMORY_SIZE: '1024',
      AWS_EXECUTION_ENV: 'AWS_Lambda_nodejs22.x',
      AWS_REGION: 'eu-central-1',
      AWS_ACCESS_KEY_ID: 'test',
      AWS_SECRET_ACCESS_KEY: 'test',
      TZ: ':UTC',
      ...environment,
    },
  })
  let output = ''
  for (const stream of [child.stdout, child.stderr]) stream?.on('data', (text) => (output += text))
  const loaded = new Set<string>()
  const waiting: PromiseWithResolvers<unknown>[] = []
  child.on('message', (answer: Answer) => {
    for (const file of answer.loaded) loaded.add(file)
    const asked = waiting.shift()
    if (answer.error === undefined) asked?.resolve(answer.answered)
    else asked?.reject(new Error(answer.error))
  })
  const ended = once(child, 'close').then(([code, signal]) => {
    for (const asked of waiting.splice(0)) {
      asked.reject(new Error(`The function did not answer and ended with ${signal ?? code}.\n${output}`))
    }
  })
  return {
    call: (event) => {
      const asked = Promise.withResolvers<unknown>()
      waiting.push(asked)
      child.send({ event })
      return asked.promise
    },
    output: () => output,
    loaded: () => loaded,
    stop: async () => {
      child.kill()
      await ended
      await Promise.all([rm(folder, { recursive: true }), rm(beside)])
    },
  }
}

/** What a function answers to each of the events, from its zip. */
async function invoke(
  zip: Uint8Array,
  environment: Record<string, string>,
  events: unknown[],
): Promise<unknown[]> {
  const running = await startFunction(zip, environment, DEADLINE_MS)
  try {
    const answers = []
    for (const event of events) answers.push(await running.call(event))
    return answers
  } finally {
    await running.stop()
  }
}

interface Expectation {
  request: Parameters<typeof restEvent>
  status: number
  contentType: string
  body: RegExp
}
/** A form with one file, its boundary `b`. */
const form = (file: string): Buffer =>
  Buffer.from(`--b\r\nContent-Disposition: form-data; name="image"; filename="a"\r\n\r\n${file}\r\n--b--\r\n`)

/** With its style and script, which are not there in web/. */
const FINISHED_PAGE = /<style>\s*[^/\s][\s\S]+<script[^>]*>\s*[^/\s][\s\S]+<\/html>/

const API_EXPECTATIONS: Expectation[] = [
  { request: ['GET', '/health'], status: 200, contentType: 'application/json', body: /"ok"/ },
  {
    request: ['GET', '/'],
    status: 200,
    contentType: 'text/html',
    body: FINISHED_PAGE,
  },
  {
    request: ['GET', '/docs'],
    status: 200,
    contentType: 'text/html',
    body: FINISHED_PAGE,
  },
  {
    request: ['GET', '/openapi.json'],
    status: 200,
    contentType: 'application/json',
    body: /^{"openapi":"3\.1/,
  },
  {
    request: ['POST', '/images', 'image/png', Buffer.from('%PDF-1.7')],
    status: 415,
    contentType: 'application/problem+json',
    body: /"UNSUPPORTED_FORMAT"/,
  },
  // The parser of forms is in a file of its own, which is loaded by the first form.
  {
    request: ['POST', '/images', 'multipart/form-data; boundary=b', form('%PDF-1.7')],
    status: 415,
    contentType: 'application/problem+json',
    body: /"UNSUPPORTED_FORMAT"/,
  },
]

/**
 * That each function loads from its zip and answers what needs no AWS.
 *
 * @throws Error that says which function answered what
 */
export async function check(name: FunctionName, zip: Uint8Array): Promise<void> {
  // Stands for SQS and DynamoDB, which the worker and the sweeper ask: nothing to do, and everything went well.
  const aws = createServer((_, response) =>
    response.setHeader('content-type', 'application/x-amz-json-1.0').end('{"Items":[],"Count":0}'),
  )
  await new Promise<void>((listening) => aws.listen(0, '127.0.0.1', listening))
  const endpoint = `http://127.0.0.1:${(aws.address() as AddressInfo).port}`
  const environment = {
    AWS_ENDPOINT_URL: endpoint,
    IMAGE_BUCKET: 'image-analyzer',
    IMAGE_TABLE: 'image-analyzer-images',
    JOB_QUEUE_URL: `${endpoint}/123456789012/image-analyzer-jobs`,
    EVENT_BUS_NAME: 'image-analyzer',
    AUTH: 'none',
  }
  try {
    if (name === 'api') await checkApi(zip, environment)
    else if (name === 'worker') {
      const event = sqsEvent('{"version":1}')
      const failed = event.Records.map(({ messageId }) => ({ itemIdentifier: messageId }))
      same(name, await invoke(zip, environment, [event]), [{ batchItemFailures: failed }])
    } else if (name === 'subscriber') {
      const event = {
        source: 'image-analyzer',
        detail: { eventId: 'id:1:completed', status: 'completed', imageId: 'id' },
      }
      // It answers nothing, which is null on its way out of its process.
      same(name, await invoke(zip, { ...environment, SEEN_TABLE: 'seen' }, [event]), [null])
    } else {
      const nothing = { requeued: 0, exhausted: 0, announced: 0, removed: 0, failed: 0 }
      same(name, await invoke(zip, environment, [{}]), [nothing])
    }
  } finally {
    aws.closeAllConnections()
    aws.close()
  }
}

interface ApiAnswer {
  statusCode: number
  headers?: Record<string, string>
  /** In place of `headers` for payload 1.0. */
  multiValueHeaders?: Record<string, string[]>
  body: string
  isBase64Encoded: boolean
}

async function checkApi(zip: Uint8Array, environment: Record<string, string>): Promise<void> {
  const expectations = [restEvent, httpEvent].flatMap((eventOf) =>
    API_EXPECTATIONS.map((expectation) => ({ ...expectation, event: eventOf(...expectation.request) })),
  )
  const answers = (await invoke(
    zip,
    environment,
    expectations.map(({ event }) => event),
  )) as ApiAnswer[]
  expectations.forEach(({ request: [method, path], status, contentType, body }, index) => {
    const answer = answers[index]
    const type = String(answer?.headers?.['content-type'] ?? answer?.multiValueHeaders?.['content-type'])
    const text = Buffer.from(answer?.body ?? '', answer?.isBase64Encoded ? 'base64' : 'utf8').toString()
    if (answer?.statusCode === status && type.startsWith(contentType) && body.test(text)) return
    throw new Error(
      `api.zip answered ${answer?.statusCode} ${type} to ${method} ${path}: ${text.slice(0, 500)}`,
    )
  })
}

function same(name: FunctionName, answered: unknown, expected: unknown): void {
  if (isDeepStrictEqual(answered, expected)) return
  throw new Error(`${name}.zip answered ${JSON.stringify(answered)} and not ${JSON.stringify(expected)}.`)
}

/** ELF's e_machine, 18 bytes into the file, of the processors that Lambda has (System V ABI, ELF header). */
const ELF_MACHINES: Record<Arch, number> = { arm64: 183, x64: 62 }

/** How a binary for musl names its C library; one for glibc says `libc.so.6`. */
const MUSL = 'libc.musl-'

/**
 * That a zip's binaries are made for this processor and C library, which can be seen on any other machine too.
 *
 * @throws Error that names the binary that is not
 */
export function checkBinaries(zip: Uint8Array, arch: Arch, libc: Libc): void {
  const binaries = Object.entries(unzip(zip)).filter(([file]) => /\.node$|\.so(\.|$)/.test(file))
  if (binaries.length < 2) throw new Error('The zip lacks sharp or libvips.')
  for (const [file, binary] of binaries) {
    const bytes = Buffer.from(binary)
    const isMusl = bytes.includes(MUSL)
    if (bytes.readUInt16LE(18) === ELF_MACHINES[arch] && isMusl === (libc === 'musl')) continue
    throw new Error(`${file} is not made for ${platformOf(arch, libc)}.`)
  }
}
