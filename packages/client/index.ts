import { FORMAT_BYTES, formatOf, refusalOf } from '../image-guard/format.ts'
import type {
  AnalysisName,
  ApiErrorCode,
  Event,
  FailureCode,
  FinishedImage,
  Image,
  ListedImage,
  Status,
  UploadForm,
} from './types.ts'

export type * from './types.ts'

/**
 * The API as typed calls, over HTTP alone: without dependencies, for any runtime that has `fetch`.
 *
 *     const client = createClient({ endpoint: 'http://127.0.0.1:3000' })
 *     const image = await client.upload(await readFile('photo.jpg'), { filename: 'photo.jpg', wait: true })
 *
 * Every call may be repeated without harm, and the client repeats it when the API is busy or a connection breaks.
 */
export function createClient(options: ClientOptions): Client {
  return new HttpClient(options)
}

export interface ClientOptions {
  /** The API's URL, with its stage if it has one, and nothing after it: `http://127.0.0.1:3000`. */
  endpoint: string
  /** A bearer token; it is sent to the endpoint only. */
  token?: string
  /** What sends requests: another `fetch`, or one that signs them. */
  fetch?: (url: string, init: RequestInit) => Response | Promise<Response>
  /** Milliseconds for which a busy API is tried again; one that is gone, at most 10,000 of them. */
  patienceMs?: number
}

export interface Client {
  /** Sends an image: by `POST /images`, or by a presigned form where it is too large for that. */
  upload(image: Uint8Array | Blob, options: UploadOptions & { wait: true }): Promise<FinishedImage>
  upload(image: Uint8Array | Blob, options?: UploadOptions): Promise<Accepted>
  /** `POST /uploads`: a form for one image, which {@link upload} asks for and sends. */
  createUpload(announced: AnnouncedUpload, options?: CallOptions): Promise<UploadForm>
  get(imageId: string, options?: CallOptions & { waitSeconds?: number }): Promise<Image>
  /** The image when it is completed or failed. There is no limit but the signal's. */
  wait(imageId: string, options?: CallOptions): Promise<FinishedImage>
  /** All images, newest first, page by page as they are asked for. */
  list(options?: ListOptions): AsyncGenerator<ListedImage, void, undefined>
  /** The names of labels that images have, in alphabetical order. */
  labels(options?: LabelOptions): AsyncGenerator<string, void, undefined>
  retry(imageId: string, options?: CallOptions): Promise<void>
  delete(imageId: string, options?: CallOptions): Promise<void>
  /** A URL of the bucket that is good for some minutes. */
  thumbnailUrl(imageId: string, options?: CallOptions): Promise<string>
  /** Of the whole picture, at most 1,600 pixels a side. @throws ApiError `NOT_FOUND` where previews are off */
  previewUrl(imageId: string, options?: CallOptions): Promise<string>
  originalUrl(imageId: string, options?: CallOptions): Promise<string>
  /** What was announced when the image was finished. */
  event(imageId: string, options?: CallOptions): Promise<Event>
  health(options?: CallOptions): Promise<Health>
  /** What the API takes, as `image/jpeg`. */
  contentTypes(options?: CallOptions): Promise<string[]>
}

export interface CallOptions {
  signal?: AbortSignal | undefined
}
export interface UploadOptions extends CallOptions {
  filename?: string | undefined
  /** The same for the same image sent again; otherwise one is made for this call. */
  idempotencyKey?: string
  analyses?: AnalysisName[] | undefined
  wait?: boolean
  /** Gets the bytes on their way, and 0 when they start again; in Node 20, and outside of Node, all when they are there. */
  onProgress?: (sentBytes: number) => void
  /** Gets the form of a large image before it is used. */
  onForm?: (form: UploadForm) => void
  /** A form of before, to be used again. */
  form?: UploadForm | undefined
}
export interface AnnouncedUpload {
  contentType: string
  bytes: number
  filename?: string | undefined
  analyses?: AnalysisName[] | undefined
  idempotencyKey?: string
}
export interface ListOptions extends CallOptions {
  status?: Status | undefined
  /** In any case: `dog` finds `Dog`. Of several, an image has all. */
  label?: string | string[] | undefined
  /** Of each label, in per cent. */
  minConfidence?: number | undefined
  /** Whether there is a face. */
  faces?: boolean | undefined
  /** The strongest one of a face: `HAPPY`, in any case. */
  emotion?: string | undefined
  /** Why an image failed. */
  failure?: FailureCode | undefined
  /** A part of the file's name, in any case. */
  filename?: string | undefined
  /** When images were accepted, both included: a day in UTC, or a time with its offset. */
  from?: string | undefined
  to?: string | undefined
  pageSize?: number
}
export interface LabelOptions extends CallOptions {
  /** The beginning of the names, in any case. */
  prefix?: string | undefined
  pageSize?: number
}
export interface Accepted {
  imageId: string
  /** The route it went by. */
  via: 'images' | 'uploads'
}
export interface Health {
  status: string
  /** The clock of the API, as its answer says. */
  date: Date | undefined
}

export const isFinished = (image: Image): image is FinishedImage =>
  image.status === 'completed' || image.status === 'failed'

/** The API's own codes, and three for what does not come from it. */
export type ErrorCode =
  | ApiErrorCode
  /** No answer; `cause` has the reason. */
  | 'UNREACHABLE'
  /** The bucket has refused a form. */
  | 'UPLOAD_REFUSED'
  /** An answer that is not the API's: another server is at this address, or in between. */
  | 'UNEXPECTED_ANSWER'

export class ApiError extends Error {
  readonly code: ErrorCode
  /** Of the HTTP answer; 0 where there was none. */
  readonly status: number
  readonly detail: string
  /** What the API calls this occurrence in its log. */
  readonly instance: string | undefined
  /** Seconds after which the same may succeed. */
  readonly retryAfter: number | undefined
  /** How a caller has to prove who they are: `Bearer`, `AWS4-HMAC-SHA256`. */
  readonly challenge: string | undefined
  constructor(
    code: ErrorCode,
    status: number,
    detail: string,
    more: {
      instance?: unknown
      retryAfter?: number | undefined
      challenge?: string | null
      cause?: unknown
    } = {},
  ) {
    super(`${code}: ${detail}`, more.cause === undefined ? undefined : { cause: more.cause })
    this.name = 'ApiError'
    this.code = code
    this.status = status
    this.detail = detail
    this.instance = typeof more.instance === 'string' ? more.instance : undefined
    this.retryAfter = more.retryAfter
    this.challenge = more.challenge ?? undefined
  }
}

/** What `POST /images` takes by default (Lambda's 6 MB request less base64). */
export const MAX_DIRECT_BYTES = 4_500_000
/** Milliseconds: the longest between two looks at an image that waits, since it may be retried or deleted meanwhile. */
const LONGEST_REST_MS = 60_000
/** The longest that one request may wait for an image, by contract. */
const MAX_WAIT_SECONDS = 20
const PATIENCE_MS = 60_000
const RECONNECT_MS = 10_000
/** An address that has never answered is likelier a wrong one than a busy one. */
const FIRST_CONTACT_MS = 1_500
const FIRST_PAUSE_MS = 250
const LONGEST_PAUSE_MS = 8_000
/** Milliseconds for an answer, without what waiting and sending take. */
const ANSWER_MS = 30_000
/** Lambda's answers have 6 MB at most, and a thumbnail far less. */
const MAX_ANSWER_BYTES = 10_000_000
/** Bytes a millisecond: 25 kB/s is the slowest line that an upload is not given up on. */
const SLOWEST_LINE = 25
/** Busy, or something between the client and the API was. */
const TRY_AGAIN = [429, 502, 503, 504]
/** Those that XML itself has (XML 1.0, section 4.6). */
const ENTITIES: Record<string, string> = {
  '&quot;': '"',
  '&apos;': "'",
  '&lt;': '<',
  '&gt;': '>',
  '&amp;': '&',
}
/**
 * Node sends an iterator as it comes, under a length that is given. No standard has that: browsers take streams by
 * HTTP/2 only, which S3 does not speak. Node 20 has no `navigator`, and sends all at once.
 */
const TAKES_STREAMS = globalThis.navigator?.userAgent?.startsWith('Node.js/') === true

interface Call extends CallOptions {
  method?: 'GET' | 'POST' | 'DELETE'
  headers?: Record<string, string>
  /** Made for each attempt, since a stream can be read only once. */
  body?: () => NonNullable<RequestInit['body']>
  answerMs?: number
  /** Why the body could not be made, which no other attempt will mend. */
  broken?: () => unknown
}
interface Answer {
  status: number
  headers: Headers
  text: string
  /** Whether an attempt before may have reached the API without its answer coming back. */
  repeated: boolean
}

class HttpClient implements Client {
  readonly #endpoint: string
  readonly #headers: Record<string, string>
  readonly #fetch: NonNullable<ClientOptions['fetch']>
  readonly #patienceMs: number
  #reached = false

  constructor({ endpoint, token, fetch = globalThis.fetch, patienceMs = PATIENCE_MS }: ClientOptions) {
    const url = URL.canParse(endpoint) ? new URL(endpoint) : undefined
    if (url === undefined || !/^https?:$/.test(url.protocol))
      throw new TypeError('The endpoint must be an http or https URL, such as http://127.0.0.1:3000.')
    if (url.search !== '' || url.username !== '' || url.password !== '')
      throw new TypeError('The endpoint must have no query, no user and no password.')
    this.#endpoint = `${url.origin}${url.pathname.replace(/\/+$/, '')}`
    this.#headers = token === undefined ? {} : { authorization: `Bearer ${token}` }
    this.#fetch = fetch
    this.#patienceMs = patienceMs
  }

  upload(image: Uint8Array | Blob, options: UploadOptions & { wait: true }): Promise<FinishedImage>
  upload(image: Uint8Array | Blob, options?: UploadOptions): Promise<Accepted>
  async upload(image: Uint8Array | Blob, options: UploadOptions = {}): Promise<Accepted | FinishedImage> {
    const accepted = await this.#send(image, options)
    return options.wait === true ? this.wait(accepted.imageId, options) : accepted
  }

  async #send(image: Uint8Array | Blob, options: UploadOptions): Promise<Accepted> {
    const { filename, analyses, idempotencyKey = crypto.randomUUID(), signal, onProgress, onForm } = options
    const bytes = image instanceof Blob ? image.size : image.length
    if (bytes <= MAX_DIRECT_BYTES && options.form === undefined) {
      const query = new URLSearchParams()
      if (filename !== undefined) query.set('filename', filename.toWellFormed())
      if (analyses !== undefined) query.set('analyses', analyses.join(','))
      const body = image instanceof Blob ? new Uint8Array(await image.arrayBuffer()) : image
      const answer = await this.#call(`/images?${query}`, {
        method: 'POST',
        headers: { 'content-type': 'application/octet-stream', 'idempotency-key': idempotencyKey },
        body: () => body as Uint8Array<ArrayBuffer>,
        answerMs: ANSWER_MS + bytes / SLOWEST_LINE,
        signal,
      })
      if (answer.status === 202) {
        onProgress?.(bytes)
        return { imageId: textOf(json(answer), 'imageId'), via: 'images' }
      }
      // This API takes less in a request than others.
      const error = refusal(answer)
      if (error.code !== 'IMAGE_TOO_LARGE') throw error
    }
    const blob = image instanceof Blob ? image : new Blob([image as Uint8Array<ArrayBuffer>])
    let { form } = options
    if (form === undefined) {
      // By the first bytes, as the API does.
      const start = new Uint8Array(await blob.slice(0, FORMAT_BYTES).arrayBuffer())
      // Whether HEIC comes in is a matter of the deployment, which answers before any byte of the file is sent.
      const contentType = formatOf(start, true)?.contentType
      if (contentType === undefined) throw new ApiError('UNSUPPORTED_FORMAT', 415, refusalOf(start))
      form = await this.createUpload({ contentType, bytes, filename, analyses, idempotencyKey }, { signal })
      onForm?.(form)
    }
    await this.#sendForm(form, blob, { signal, onProgress })
    return { imageId: form.imageId, via: 'uploads' }
  }

  async createUpload(announced: AnnouncedUpload, { signal }: CallOptions = {}): Promise<UploadForm> {
    const { idempotencyKey = crypto.randomUUID(), ...body } = announced
    const answer = await this.#call('/uploads', {
      method: 'POST',
      headers: { 'content-type': 'application/json', 'idempotency-key': idempotencyKey },
      body: () => JSON.stringify({ ...body, filename: body.filename?.toWellFormed() }),
      signal,
    })
    const form = having<UploadForm>(expectStatus(answer, 201), 'imageId')
    if (!/^https?:/i.test(textOf(Object(form.upload), 'url'))) throw lacks('url')
    if (Object(form.upload.fields) !== form.upload.fields) throw lacks('fields')
    return form
  }

  /** The same form with the same bytes ends in the same object, so it may be sent as often as need be. */
  async #sendForm(
    { upload: { url, fields } }: UploadForm,
    image: Blob,
    { signal, onProgress }: CallOptions & { onProgress: UploadOptions['onProgress'] | undefined },
  ): Promise<void> {
    const boundary = `image-analyzer-${crypto.randomUUID()}`
    const part = (name: string, more: string) =>
      `--${boundary}\r\ncontent-disposition: form-data; name="${name}"${more}\r\n\r\n`
    const texts = Object.entries(fields).map(([name, value]) => `${part(name, '')}${value}\r\n`)
    // S3 ignores every field after the file.
    const head = new Blob([texts.join(''), part('file', '; filename="image"')])
    const form = new Blob([head, image, `\r\n--${boundary}--\r\n`])
    let broken: unknown
    async function* counted() {
      try {
        let sent = 0
        onProgress?.(0)
        for await (const chunk of form.stream()) {
          yield chunk
          sent += chunk.length
          onProgress?.(Math.min(Math.max(0, sent - head.size), image.size))
        }
      } catch (error) {
        broken = error
        throw error
      }
    }
    const counts = onProgress !== undefined && TAKES_STREAMS
    const answer = await this.#attempt(url, {
      method: 'POST',
      headers: {
        'content-type': `multipart/form-data; boundary=${boundary}`,
        // S3 takes no body of unknown length; that of a blob is known.
        ...(counts ? { 'content-length': String(form.size) } : {}),
      },
      body: () => (counts ? (counted() as unknown as NonNullable<RequestInit['body']>) : form),
      answerMs: ANSWER_MS + image.size / SLOWEST_LINE,
      broken: () => broken,
      signal,
    })
    if (answer.status < 200 || answer.status > 299) {
      const found = (element: string) =>
        new RegExp(`<${element}>([^<]*)<`)
          .exec(answer.text)?.[1]
          ?.replace(/&(?:quot|apos|lt|gt|amp);/g, (entity) => ENTITIES[entity] ?? entity)
      const why = [found('Code'), found('Message')].filter((text) => text !== undefined).join(': ')
      throw new ApiError('UPLOAD_REFUSED', answer.status, why || `The bucket answers ${answer.status}.`)
    }
    if (!counts) onProgress?.(image.size)
  }

  async get(imageId: string, options: CallOptions & { waitSeconds?: number } = {}): Promise<Image> {
    const seconds = Math.min(options.waitSeconds ?? 0, MAX_WAIT_SECONDS)
    const answer = await this.#call(`${pathOf(imageId)}${seconds > 0 ? `?wait=${seconds}` : ''}`, {
      signal: options.signal,
      answerMs: ANSWER_MS + seconds * 1_000,
    })
    return recordOf<Image>(expectStatus(answer, 200))
  }

  async wait(imageId: string, options: CallOptions = {}): Promise<FinishedImage> {
    for (;;) {
      const began = performance.now()
      const image = await this.get(imageId, { ...options, waitSeconds: MAX_WAIT_SECONDS })
      if (isFinished(image)) return image
      // A server that cuts waiting short is not asked more than once a second, and less often for an image that waits.
      const least = Math.max(0, 1_000 - (performance.now() - began))
      await pause(Math.min(Math.max(waitMs(image), least), LONGEST_REST_MS), options.signal)
    }
  }

  async *list(options: ListOptions = {}): AsyncGenerator<ListedImage, void, undefined> {
    const { label = [], pageSize = 100, signal, ...filters } = options
    const query = queryOf({ limit: pageSize, ...filters })
    for (const name of [label].flat()) query.append('label', name)
    for await (const image of this.#pages('/images', query, signal)) yield recordOf<ListedImage>(image)
  }

  async *labels(options: LabelOptions = {}): AsyncGenerator<string, void, undefined> {
    const { prefix, pageSize = 100, signal } = options
    const query = queryOf({ limit: pageSize, prefix })
    for await (const label of this.#pages('/labels', query, signal)) yield textOf(label, 'name')
  }

  async *#pages(path: string, query: URLSearchParams, signal: AbortSignal | undefined) {
    for (;;) {
      const answer = await this.#call(`${path}?${query}`, { signal })
      const page = expectStatus(answer, 200) as { items?: Record<string, unknown>[]; cursor?: unknown }
      if (!Array.isArray(page.items) || page.items.some((item) => Object(item) !== item)) throw lacks('items')
      yield* page.items
      if (page.cursor === undefined) return
      // Each page of the API ends further on: the same cursor once more would be asked for without end.
      if (typeof page.cursor !== 'string' || page.cursor === query.get('cursor')) throw lacks('cursor')
      query.set('cursor', page.cursor)
    }
  }

  async retry(imageId: string, { signal }: CallOptions = {}): Promise<void> {
    const answer = await this.#call(`${pathOf(imageId)}/retry`, { method: 'POST', signal })
    // The attempt whose answer was lost has started it again.
    if (answer.status === 409 && answer.repeated) return
    expectStatus(answer, 202)
  }

  async delete(imageId: string, { signal }: CallOptions = {}): Promise<void> {
    const answer = await this.#call(pathOf(imageId), { method: 'DELETE', signal })
    if (answer.status === 204 || (answer.status === 404 && answer.repeated)) return
    throw refusal(answer)
  }

  thumbnailUrl(imageId: string, options: CallOptions = {}): Promise<string> {
    return this.#presigned(`${pathOf(imageId)}/thumbnail`, options)
  }

  previewUrl(imageId: string, options: CallOptions = {}): Promise<string> {
    return this.#presigned(`${pathOf(imageId)}/preview`, options)
  }

  originalUrl(imageId: string, options: CallOptions = {}): Promise<string> {
    return this.#presigned(`${pathOf(imageId)}/original`, options)
  }

  /** As JSON: a browser does not show where a redirect leads. */
  async #presigned(path: string, { signal }: CallOptions): Promise<string> {
    const answer = await this.#call(path, { signal, headers: { accept: 'application/json' } })
    return textOf(expectStatus(answer, 200), 'url')
  }

  async event(imageId: string, { signal }: CallOptions = {}): Promise<Event> {
    const event = expectStatus(await this.#call(`${pathOf(imageId)}/event`, { signal }), 200)
    if (Object(event['detail']) !== event['detail']) throw lacks('detail')
    return event as unknown as Event
  }

  async contentTypes({ signal }: CallOptions = {}): Promise<string[]> {
    const document = expectStatus(await this.#call('/openapi.json', { signal }), 200)
    const types = ['paths', '/uploads', 'post', 'requestBody', 'content', 'application/json', 'schema']
      .concat('properties', 'contentType', 'enum')
      .reduce<unknown>((part, name) => Object(part)[name], document)
    return Array.isArray(types) ? types.filter((type) => typeof type === 'string') : []
  }

  async health({ signal }: CallOptions = {}): Promise<Health> {
    const answer = await this.#call('/health', { signal })
    const date = Date.parse(answer.headers.get('date') ?? '')
    const status = textOf(expectStatus(answer, 200), 'status')
    return { status, date: Number.isNaN(date) ? undefined : new Date(date) }
  }

  #call(path: string, call: Call): Promise<Answer> {
    // A space is %20 to every parser, and to what checks a signature.
    const url = this.#endpoint + path.replaceAll('+', '%20')
    return this.#attempt(url, { ...call, headers: { ...this.#headers, ...call.headers } })
  }

  /** One request, as often as it takes within the patience there is. Its body and headers are the same each time. */
  async #attempt(url: string, call: Call): Promise<Answer> {
    const began = performance.now()
    const fits = (pauseMs: number, patienceMs: number) => performance.now() - began + pauseMs <= patienceMs
    let repeated = false
    checkHeaders(call.headers)
    for (let attempt = 0; ; attempt += 1) {
      // With jitter: clients that were refused together do not come back together.
      const backoff = Math.min(LONGEST_PAUSE_MS, FIRST_PAUSE_MS * 2 ** attempt) * (0.5 + Math.random() / 2)
      let delay: number
      try {
        const answer: Answer = { ...(await this.#once(url, call)), repeated }
        this.#reached = true
        if (!TRY_AGAIN.includes(answer.status)) return answer
        // A gateway says 502, 503 or 504 also where the API has done what was asked, but too late for the gateway.
        repeated ||= answer.status !== 429
        delay = (retryAfter(answer.headers) ?? 0) * 1_000 + backoff
        if (!fits(delay, this.#patienceMs)) return answer
      } catch (error) {
        call.signal?.throwIfAborted()
        const broken = call.broken?.() ?? unreadable(error)
        if (broken !== undefined) throw broken
        // What signs requests may have no credentials.
        if (error instanceof ApiError) throw error
        delay = backoff
        const patienceMs = this.#reached ? RECONNECT_MS : FIRST_CONTACT_MS
        if (!fits(delay, Math.min(this.#patienceMs, patienceMs))) throw unreachable(url, error)
        repeated = true
      }
      await pause(delay, call.signal)
    }
  }

  async #once(url: string, { method = 'GET', headers = {}, body, signal, answerMs }: Call) {
    signal?.throwIfAborted()
    // Not AbortSignal.any: it would tie every request to the caller's signal for as long as that lives.
    const controller = new AbortController()
    const abort = () => controller.abort(signal?.reason)
    signal?.addEventListener('abort', abort)
    const limit = setTimeout(() => controller.abort(new Error('no answer in time')), answerMs ?? ANSWER_MS)
    try {
      // Not as a method of this: a browser's own fetch refuses that.
      const send = this.#fetch
      const response = await send(url, {
        method,
        headers,
        // A token is for the endpoint, not for where it may point to.
        redirect: 'manual',
        signal: controller.signal,
        ...(body === undefined ? {} : { body: body(), duplex: 'half' }),
      } as RequestInit)
      const { status, headers: answered } = response
      const bytes = await bytesOf(response)
      const why = `An answer has more than ${MAX_ANSWER_BYTES / 1e6} MB, so it is not the API's.`
      if (bytes === undefined) throw new ApiError('UNEXPECTED_ANSWER', status, why)
      return { status, headers: answered, text: new TextDecoder().decode(bytes) }
    } finally {
      clearTimeout(limit)
      signal?.removeEventListener('abort', abort)
    }
  }
}

/** @returns undefined where there is more than any answer has: a server that is not the API's may send without end */
export async function bytesOf({ body }: Response): Promise<Uint8Array | undefined> {
  const chunks: Uint8Array<ArrayBuffer>[] = []
  const reader = body?.getReader()
  let left = MAX_ANSWER_BYTES
  // Not `for await`: Safari's streams cannot be iterated.
  for (let next = await reader?.read(); next?.done === false; next = await reader?.read()) {
    left -= next.value.length
    if (left < 0) return void (await reader?.cancel())
    chunks.push(next.value)
  }
  return new Uint8Array(await new Blob(chunks).arrayBuffer())
}

/** @throws TypeError at once, without the value: `fetch` fails alike where a network is to blame, and shows a token */
function checkHeaders(headers: Record<string, string> = {}): void {
  for (const [name, value] of Object.entries(headers)) {
    try {
      new Headers([[name, value]])
    } catch {
      throw new TypeError(`The header "${name}" has a character that no header can have.`)
    }
  }
}

function queryOf(parameters: Record<string, string | number | boolean | undefined>): URLSearchParams {
  const query = new URLSearchParams()
  for (const [name, value] of Object.entries(parameters))
    if (value !== undefined) query.set(name, String(value))
  return query
}

/** Ids become parts of URLs, and what is no id has no image. */
function pathOf(imageId: string): string {
  if (!/^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$/i.test(imageId))
    throw new ApiError('IMAGE_NOT_FOUND', 404, 'This is not an image id.')
  return `/images/${imageId.toLowerCase()}`
}

function json({ status, text }: Answer): Record<string, unknown> {
  try {
    const value: unknown = JSON.parse(text)
    if (typeof value === 'object' && value !== null) return value as Record<string, unknown>
  } catch {
    // Said below: no JSON, or not an object.
  }
  throw new ApiError('UNEXPECTED_ANSWER', status, `A server that is not the API answers with ${status}.`)
}

/** Another program may answer with JSON too. */
const lacks = (name: string): ApiError =>
  new ApiError('UNEXPECTED_ANSWER', 200, `An answer has no "${name}", so it is not the API's.`)

function textOf(value: Record<string, unknown>, name: string): string {
  const text = value[name]
  if (typeof text === 'string') return text
  throw lacks(name)
}

/** @param names of what such an answer always has: a text */
function having<T>(value: Record<string, unknown>, ...names: (keyof T & string)[]): T {
  for (const name of names) textOf(value, name)
  return value as T
}

/** An image of the API, alone or in a list. */
function recordOf<T extends Image | ListedImage>(value: Record<string, unknown>): T {
  const { original, failure = {}, labels = [], rekognitionLabels = [], rekognitionFaces = [] } = value
  for (const [name, part] of Object.entries({ original, failure }))
    if (Object(part) !== part) throw lacks(name)
  for (const [name, part] of Object.entries({ labels, rekognitionLabels, rekognitionFaces }))
    if (!Array.isArray(part)) throw lacks(name)
  return having<T>(value, 'imageId', 'status')
}

function expectStatus(answer: Answer, status: number): Record<string, unknown> {
  if (answer.status !== status) throw refusal(answer)
  return json(answer)
}

/** Codes of answers that come from a gateway or a proxy instead of the API. */
const CODE_BY_STATUS: Record<number, ErrorCode> = {
  401: 'UNAUTHENTICATED',
  403: 'UNAUTHENTICATED',
  413: 'IMAGE_TOO_LARGE',
  429: 'TOO_MANY_REQUESTS',
  502: 'UNAVAILABLE',
  503: 'UNAVAILABLE',
  504: 'UNAVAILABLE',
}

function refusal(answer: Answer): ApiError {
  const { status, headers } = answer
  const more = { retryAfter: retryAfter(headers), challenge: headers.get('www-authenticate') }
  let body: Record<string, unknown> = {}
  try {
    body = json(answer)
  } catch {
    // Then the status has to say it.
  }
  const { code, detail, instance, message } = body
  if (typeof code === 'string' && /json/.test(headers.get('content-type') ?? '')) {
    const said = typeof detail === 'string' ? detail : code
    return new ApiError(code as ErrorCode, status, said, { ...more, instance })
  }
  const said = typeof message === 'string' ? `: ${message}` : ''
  const location = headers.get('location')
  const leads = location === null ? '' : ` It leads to ${location}.`
  return new ApiError(
    CODE_BY_STATUS[status] ?? 'UNEXPECTED_ANSWER',
    status,
    `The answer is ${status}${said}, which is not of this API: a gateway or a proxy may have sent it.${leads}`,
    more,
  )
}

function unreachable(url: string, error: unknown): ApiError {
  const cause = error instanceof Error && error.cause !== undefined ? error.cause : error
  // A DOMException has a number there.
  const { code, message }: { code?: unknown; message?: string } = Object(cause)
  const why = typeof code === 'string' ? code : (message ?? String(cause))
  return new ApiError('UNREACHABLE', 0, `${new URL(url).origin} does not answer (${why}).`, { cause: error })
}

/** The reason, where a blob that was to be sent cannot be read: Node's is a file, which may be changed. */
function unreadable(error: unknown): unknown {
  const { cause } = Object(error)
  return Object(cause).name === 'NotReadableError' ? cause : undefined
}

/** Milliseconds for which no worker is at the image, by this machine's clock. */
const waitMs = (image: Image): number =>
  image.status === 'processing' && image.waits !== undefined
    ? Date.parse(image.waits.until) - Date.now() || 0
    : 0

/** Seconds, by RFC 9110, section 10.2.3: a number of them, or a date, which begins with a day's name. */
function retryAfter(headers: Headers): number | undefined {
  const value = headers.get('retry-after')?.trim() ?? ''
  if (/^\d+$/.test(value)) return Number(value)
  // Date.parse takes -5 and 1.5 for days of the year 2001.
  const seconds = /^[A-Z]/.test(value) ? (Date.parse(value) - Date.now()) / 1_000 : Number.NaN
  return Number.isNaN(seconds) ? undefined : Math.max(0, seconds)
}

function pause(ms: number, signal?: AbortSignal): Promise<void> {
  return new Promise((resolve, reject) => {
    signal?.throwIfAborted()
    const abort = () => {
      clearTimeout(timer)
      reject(signal?.reason)
    }
    const timer = setTimeout(() => {
      signal?.removeEventListener('abort', abort)
      resolve()
    }, ms)
    signal?.addEventListener('abort', abort, { once: true })
  })
}
