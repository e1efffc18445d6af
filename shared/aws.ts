import { connect, isIP, type Socket } from 'node:net'
import { Readable } from 'node:stream'
import { setTimeout as timer } from 'node:timers/promises'
import { connect as connectTls } from 'node:tls'
import type { S3Client } from '@aws-sdk/client-s3'

/** Resolves after so many milliseconds; rejects when the signal is aborted, and then leaves nothing behind. */
export type Sleep = (ms: number, signal?: AbortSignal) => Promise<void>
export const sleep: Sleep = (ms, signal) => timer(ms, undefined, { signal })

/** Milliseconds by a clock that cannot be set: for durations and deadlines. The wall clock is for what is stored. */
export type Elapsed = () => number
export const elapsed: Elapsed = () => performance.now()

/** Both of these, which a test may replace. */
export type Clock = { elapsed: Elapsed; sleep: Sleep }

/** Where AWS is, when it is not where the SDK would look. Empty on AWS. */
export interface AwsTarget {
  endpoint?: string
  region?: string
  credentials?: { accessKeyId: string; secretAccessKey: string }
}

/** The longest that AWS may take to answer, from when the client has the request. */
const AWS_TIMEOUT_MS = 5_000
/** The same for an emulator: on a busy machine, five seconds cut off answers that were about to come. */
const EMULATOR_TIMEOUT_MS = 30_000

const isEmulated = ({ endpoint }: AwsTarget): boolean =>
  Boolean(endpoint ?? process.env['AWS_ENDPOINT_URL_S3'] ?? process.env['AWS_ENDPOINT_URL'])

/** Adds its call to what AWS refuses, as the SDK logs it first: `Requested resource not found` alone has no service or table. */
function nameCall(failed: unknown): void {
  const { clientName, commandName, input, error } = Object(failed)
  const { TableName, Bucket, QueueUrl, Entries: [first] = [] } = Object(input)
  const of = TableName ?? Bucket ?? QueueUrl?.split('/').at(-1) ?? first?.EventBusName ?? ''
  const what = `${clientName} ${commandName} ${of}`.replaceAll(/(Client|Command) /g, ' ').trim()
  const status = error.$response?.statusCode
  const isNamed = error.$fault || error.name === 'TimeoutError' || (error.code && status)
  if (!isNamed && status) error.message = `HTTP ${status} in words that are not those of AWS`
  if (error.name === 'Unknown') error.message = `HTTP ${status}`
  if (isNamed || status) error.message = error.message.replace(/\.?(\n {2}Deserial.*)?$/, ` (${what})`)
}
const warn = (said: unknown): void => process.emitWarning(String(said))
const logger = { debug: () => {}, info: () => {}, warn, error: nameCall }

/**
 * Options that every SDK client gets. Retries and time-outs are bounded, so that one slow service cannot use up a Lambda's
 * whole time: at most 3 tries of at most 5 s each. Connecting has no deadline of its own: the SDK counts the time in which a
 * request waits for one of the sockets, or this process for the processor. Too few `sockets` halve the worker's speed.
 */
export const clientOptions = (target: AwsTarget = {}, sockets = 50) => ({
  ...target,
  maxAttempts: 3,
  logger,
  // A person's profile may ask for these. AWS alone has them, and the SDK refuses them beside another endpoint.
  ...(/^http:/.test(target.endpoint ?? process.env['AWS_ENDPOINT_URL'] ?? '')
    ? { useFipsEndpoint: false, useDualstackEndpoint: false }
    : {}),
  requestHandler: {
    requestTimeout: isEmulated(target) ? EMULATOR_TIMEOUT_MS : AWS_TIMEOUT_MS,
    throwOnRequestTimeout: true,
    // Of silence, also within an answer: the SDK waits for 5 to 15 minutes. SQS holds a receive for 20 seconds.
    socketTimeout: EMULATOR_TIMEOUT_MS,
    httpAgent: { keepAlive: true, maxSockets: sockets },
    httpsAgent: { keepAlive: true, maxSockets: sockets },
  },
})

/** Emulators answer on one host for all buckets, so the bucket goes into the path there. */
export const s3Options = (target: AwsTarget = {}, sockets?: number) => ({
  ...clientOptions(target, sockets),
  forcePathStyle: isEmulated(target),
})

/** SQS's own client sends each request to the queue's URL; an emulator may name a host there that is not reachable. */
export const sqsOptions = (target: AwsTarget = {}, sockets?: number) => ({
  ...clientOptions(target, sockets),
  useQueueUrlAsEndpoint: false,
})

export const dynamoTranslation = { marshallOptions: { removeUndefinedValues: true } }

type Handler = S3Client['config']['requestHandler']
type Request = Parameters<Handler['handle']>[0]
type Response = Awaited<ReturnType<Handler['handle']>>['response']
/** What the SDK passes: an AbortSignal, or a signal of the SDK's own, from before there were any. */
type Options = { abortSignal?: object }

/** Bytes of the head of an answer: S3's own has about 600. */
const MOST_HEAD_BYTES = 16_384
/** Of a scratch buffer, into which a head is read with the beginning of its body. */
const SCRATCH_BYTES = 65_536

/**
 * Makes a client's GetObject read an object from its socket into one buffer of its size, the only chunk of the answer's
 * body. Node's own HTTP client makes a buffer of each 64 KB, a stream of these, and its reader one of all of them: for a
 * photo of 4 MB a fifth of all that the worker does beside sharp. The SDK signs, counts tries and checks as always. Where the
 * answer is no plain 200 with a length, the SDK's own handler asks once more, so all errors are the SDK's.
 */
export function readInPlace(client: S3Client, options: { requestHandler: Times }): S3Client {
  const { requestHandler: usual } = client.config
  const connections = new Connections(options.requestHandler)
  client.config.requestHandler = Object.assign(Object.create(usual) as Handler, {
    handle: async (request: Request, how: Options = {}) => {
      const response = await connections.get(request, how)
      return response === undefined ? usual.handle(request, how) : { response }
    },
    destroy: () => {
      connections.destroy()
      usual.destroy?.()
    },
  })
  return client
}

/** The request as it is sent; undefined where it is of another kind. */
function written({ method, path, query, headers }: Request): string | undefined {
  if (method !== 'GET' || JSON.stringify(query) !== '{"x-id":"GetObject"}') return undefined
  const named = Object.entries(headers).map(([name, value]) => `${name}: ${value}`)
  const lines = [`GET ${path}?x-id=GetObject HTTP/1.1`, ...named]
  return lines.some((line) => /[\r\n]/.test(line)) ? undefined : `${lines.join('\r\n')}\r\n\r\n`
}

/** Milliseconds to the head of an answer, and of silence. */
type Times = Record<'requestTimeout' | 'socketTimeout', number>

class Connections {
  readonly #idle = new Map<string, Set<Connection>>()
  readonly #times: Times

  constructor(times: Times) {
    this.#times = times
  }

  async get(request: Request, { abortSignal }: Options): Promise<Response | undefined> {
    const text = written(request)
    const signal = abortSignal instanceof AbortSignal ? abortSignal : undefined
    if (text === undefined || signal !== abortSignal || signal?.aborted) return undefined
    const { protocol, hostname, port = protocol === 'https:' ? 443 : 80 } = request
    const key = `${protocol}//${hostname}:${port}`
    const idle = this.#idle.get(key) ?? new Set()
    this.#idle.set(key, idle)
    const found = [...idle].at(-1) ?? new Connection(protocol === 'https:', hostname, port, this.#times)
    idle.delete(found)
    return found.get(text, {
      signal,
      ...this.#times,
      rest: () => idle.add(found),
      end: () => idle.delete(found),
    })
  }

  destroy(): void {
    for (const idle of this.#idle.values()) for (const connection of idle) connection.destroy()
    this.#idle.clear()
  }
}

/** `rest`: the connection can be used again; `end`: it is gone. */
interface Turn {
  signal: AbortSignal | undefined
  requestTimeout: number
  rest: () => void
  end: () => void
}

/** A connection, with one request at a time. */
class Connection {
  readonly #socket: Socket
  readonly #scratch = Buffer.allocUnsafeSlow(SCRATCH_BYTES)
  /** What to do with what comes: false stops the socket. */
  #take: (chunk: Buffer) => boolean = () => true
  #target: Buffer = this.#scratch
  #lost: (error: Error) => void = () => {}

  constructor(secure: boolean, host: string, port: number, { socketTimeout }: Times) {
    const onread = {
      buffer: () => this.#target,
      callback: (length: number, buffer: Uint8Array) =>
        this.#take(Buffer.from(buffer.buffer, buffer.byteOffset, length)),
    }
    // An address is no name of a server (RFC 6066).
    const to = { host, port, onread, servername: isIP(host) ? '' : host }
    this.#socket = secure ? connectTls({ ...to, ALPNProtocols: ['http/1.1'] }) : connect(to)
    const silent = (): Error => new Error(`S3 has sent nothing for ${socketTimeout} ms.`)
    this.#socket.setNoDelay(true).setTimeout(socketTimeout, () => this.#socket.destroy(silent()))
    const lose = (error?: Error): void => this.#lost(error ?? new Error('S3 has closed the connection.'))
    this.#socket.on('error', lose).on('end', lose).on('close', lose)
  }

  destroy(): void {
    this.#socket.destroy()
  }

  /** @returns undefined where the answer is no whole object, or none comes */
  get(text: string, { signal, requestTimeout, rest, end }: Turn): Promise<Response | undefined> {
    return new Promise((resolve, reject) => {
      const stop = (): void => this.destroy()
      const done = (): void => {
        clearTimeout(timer)
        signal?.removeEventListener('abort', stop)
      }
      const lose = (): true => {
        done()
        end()
        this.destroy()
        resolve(undefined)
        return true
      }
      const timer = setTimeout(() => {
        const error = new Error(`S3 has not answered within ${requestTimeout} ms.`)
        reject(Object.assign(error, { name: 'TimeoutError' }))
        lose()
      }, requestTimeout)
      this.#lost = lose
      signal?.addEventListener('abort', stop)
      let begun = Buffer.alloc(0)
      this.#take = (chunk) => {
        begun = Buffer.concat([begun, chunk])
        const at = begun.indexOf('\r\n\r\n')
        if (at < 0) return begun.length > MOST_HEAD_BYTES ? lose() : true
        const headers = headOf(begun.toString('latin1', 0, at))
        if (headers === undefined) return lose()
        clearTimeout(timer)
        const keep = headers['connection']?.toLowerCase() !== 'close'
        const free = () => {
          done()
          this.#lost = end
          if (!keep) return this.destroy()
          this.#socket.unref()
          rest()
        }
        const length = Number(headers['content-length'])
        resolve({ statusCode: 200, headers, body: this.#body(begun.subarray(at + 4), length, free, done) })
        return false
      }
      this.#socket.ref()
      this.#socket.write(text, 'latin1')
    })
  }

  /** The body of an answer: one chunk, which is read from the socket when its reader asks for it. */
  #body(begun: Buffer, length: number, free: () => void, done: () => void): Readable {
    let whole = Buffer.alloc(0)
    let read = 0
    const take = (chunk: Buffer): boolean => {
      // The socket reads into the whole, except for what came with the head.
      if (chunk.buffer !== whole.buffer) chunk.copy(whole, read)
      read += chunk.length
      this.#target = read < length ? whole.subarray(read) : this.#scratch
      if (read < length) return true
      this.#take = () => {
        // No request is under way, so nothing may come.
        this.destroy()
        return true
      }
      // After more bytes than were announced, neither the body nor the connection can be trusted.
      if (read > length) body.destroy(new Error(`S3 sent more than ${length} bytes.`))
      else {
        free()
        if (length > 0) body.push(whole)
        body.push(null)
      }
      return true
    }
    this.#lost = (error) => body.destroy(error)
    const body = new Readable({
      read: () => {
        if (whole.length > 0) return
        whole = Buffer.allocUnsafeSlow(length)
        this.#take = take
        take(begun)
        this.#socket.resume()
      },
      destroy: (error, callback) => {
        if (read !== length || error !== null) {
          done()
          this.destroy()
        }
        callback(error)
      },
    })
    // A reader still gets the error. Without a listener it would end the process.
    return body.on('error', () => {})
  }
}

/** The headers of a 200 whose body has a length; undefined for other answers. */
function headOf(head: string): Record<string, string> | undefined {
  const [status = '', ...lines] = head.split('\r\n')
  const headers: Record<string, string> = {}
  for (const line of lines) {
    const colon = line.indexOf(':')
    headers[line.slice(0, colon).toLowerCase()] = line.slice(colon + 1).trim()
  }
  const isWhole = /^HTTP\/1\.1 200 /.test(status) && /^\d{1,15}$/.test(headers['content-length'] ?? '')
  return isWhole && headers['transfer-encoding'] === undefined ? headers : undefined
}
