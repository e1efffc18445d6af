import { randomBytes } from 'node:crypto'
import { crc32, deflateSync } from 'node:zlib'
import { ApiError, bytesOf, type Client } from './index.ts'
import { type Output, paint, plain } from './output.ts'
import { claims } from './sign.ts'
import { explain } from './upload.ts'

export interface DoctorCommand {
  client: Client
  output: Output
  endpoint: string
  token: string | undefined
  /** Whether requests are signed by AWS credentials. */
  signs: boolean
  /** Sends pictures through the whole system, which on AWS is billed as any image is. */
  uploads: boolean
  signal: AbortSignal
}

/** What a check has found, or what is wrong and how to mend it. */
type Finding = string | { wrong: string; mend: string }

/** Signatures of AWS are good for five minutes either way, tokens for a few seconds beyond their time. */
const MAX_SKEW_MS = 30_000
const MAX_ANALYSIS_MS = 60_000
const MAX_BUCKET_MS = 15_000
const READ_LOG = 'Read the log of the API.'

/**
 * Goes through a set-up in the order in which a photo does. What depends on something broken is not looked at.
 *
 * @returns the exit code
 */
export async function doctor(command: DoctorCommand): Promise<number> {
  const { client, output, endpoint, signal } = command
  let wrong = 0
  let unreachable = false

  async function check(name: string, look: () => Promise<Finding>): Promise<boolean> {
    let finding: Finding
    try {
      finding = await look()
    } catch (error) {
      if (signal.aborted) throw error
      if (error instanceof ApiError && error.code === 'UNREACHABLE') unreachable = true
      finding = diagnose(error, name)
    }
    const ok = typeof finding === 'string'
    if (!ok) wrong += 1
    const { wrong: found, mend } = typeof finding === 'string' ? { wrong: finding } : finding
    output.result({
      text: `${paint(ok ? 'green' : 'red', ok ? 'ok   ' : 'wrong')}  ${name.padEnd(9)}  ${plain(found)}${mend === undefined ? '' : `\n       mend it:   ${plain(mend)}`}`,
      json: { check: name, ok, found, ...(mend === undefined ? {} : { mend }) },
      csv: { check: name, ok: String(ok), found, mend },
    })
    return ok
  }

  let serverDate: Date | undefined
  let [asked, answered] = [0, 0]
  const made: string[] = []

  await check('node', async () => nodeFinding(process.versions.node))
  const reached = await check('endpoint', async () => {
    asked = Date.now()
    const health = await client.health({ signal })
    answered = Date.now()
    serverDate = health.date
    if (health.status === 'ok') return `${endpoint} is healthy (${answered - asked} ms)`
    return { wrong: `${endpoint} says "${health.status}"`, mend: READ_LOG }
  })
  if (!reached) return unreachable ? 3 : 1

  await check('clock', async () => clockFinding(serverDate, (asked + answered) / 2))
  const known = await check('access', async () => {
    const about = describeAccess(command)
    if (typeof about !== 'string') return about
    for await (const _ of client.list({ pageSize: 1, signal })) break
    return about
  })
  if (!known || !command.uploads) return wrong > 0 ? 1 : 0

  const picture = tinyPicture()
  try {
    const analysed = await check('upload', async () => {
      const began = performance.now()
      const { imageId } = await client.upload(picture, { filename: 'doctor.png', signal })
      made.push(imageId)
      return analysisFinding(command, imageId, began)
    })
    if (!analysed) return 1
    await check('thumbnail', () => thumbnailFinding(command, made[0] ?? ''))
    await check('form', () => formFinding(command, picture, made))
  } finally {
    for (const imageId of made) await client.delete(imageId).catch(() => {})
  }
  return wrong > 0 ? 1 : 0
}

async function analysisFinding(
  { client, signal }: DoctorCommand,
  imageId: string,
  began: number,
): Promise<Finding> {
  const patience = AbortSignal.any([signal, AbortSignal.timeout(MAX_ANALYSIS_MS)])
  const image = await client.wait(imageId, { signal: patience }).catch((error) => {
    if (!patience.aborted || signal.aborted) throw error
    return undefined
  })
  if (image === undefined) {
    const { status, attempts } = await client.get(imageId, { signal })
    return {
      wrong: `the test picture is still ${status} after ${MAX_ANALYSIS_MS / 1_000} s and ${attempts} attempts`,
      mend:
        attempts === 0
          ? 'No worker takes jobs: is its event source enabled, and does the queue have consumers?'
          : 'The log of the worker says what it waits for; most often it is Rekognition: its quota or IAM.',
    }
  }
  if (image.status === 'failed')
    return {
      wrong: `the test picture failed: ${image.failure.code}: ${image.failure.message}`,
      mend: 'The log of the worker has the reason, under this image id.',
    }
  const seconds = ((performance.now() - began) / 1_000).toFixed(1)
  const by = image.labelModelVersion === undefined ? '' : ` by model ${image.labelModelVersion}`
  return `the test picture was analysed in ${seconds} s${by}`
}

function ask(signal: AbortSignal, url: string, init: RequestInit = {}): Promise<Response> {
  const patience = AbortSignal.any([signal, AbortSignal.timeout(MAX_BUCKET_MS)])
  return fetch(url, { ...init, signal: patience }).catch((error) => {
    signal.throwIfAborted()
    throw new BucketError(`the bucket at ${new URL(url).host} does not answer (${causeOf(error)})`)
  })
}

/** @param here when the answer was sent, by this machine's clock */
function clockFinding(serverDate: Date | undefined, here: number): Finding {
  if (serverDate === undefined) return 'the API does not say its time'
  // The Date header has no milliseconds: it lies up to one second back.
  const skew = serverDate.getTime() + 500 - here
  const seconds = `${Math.abs(skew / 1_000).toFixed(0)} s`
  if (Math.abs(skew) <= MAX_SKEW_MS) return `within ${Math.abs(skew) < 1_500 ? '1 s' : seconds} of the API's`
  return {
    wrong: `this machine's clock is ${seconds} ${skew > 0 ? 'behind' : 'ahead of'} the API's`,
    mend: 'Set it by network time (NTP): signatures and tokens depend on it.',
  }
}

async function thumbnailFinding({ client, signal }: DoctorCommand, imageId: string): Promise<Finding> {
  const url = await client.thumbnailUrl(imageId, { signal })
  const response = await ask(signal, url)
  const bytes = (await bytesOf(response)) ?? []
  if (response.ok && bytes[0] === 0xff && bytes[1] === 0xd8)
    return `${bytes.length} bytes from ${new URL(url).host}`
  return {
    wrong: `${new URL(url).host} answers ${response.status} instead of a JPEG`,
    mend: 'May the API read the bucket (s3:GetObject)? Does another program answer at the address of the bucket?',
  }
}

async function formFinding(
  command: DoctorCommand,
  picture: Uint8Array<ArrayBuffer>,
  made: string[],
): Promise<Finding> {
  const { client, endpoint, signal } = command
  const began = performance.now()
  const announced = { contentType: 'image/png' as const, bytes: picture.length, filename: 'doctor.png' }
  const form = await client.createUpload(announced, { signal })
  made.push(form.imageId)
  const body = new FormData()
  for (const [name, value] of Object.entries(form.upload.fields)) body.append(name, value)
  body.append('file', new Blob([picture]))
  const { origin } = new URL(endpoint)
  const response = await ask(signal, form.upload.url, { method: 'POST', body, headers: { origin } })
  if (!response.ok)
    return {
      wrong: `the bucket answers ${response.status} to a form: ${new TextDecoder().decode(await bytesOf(response)).slice(0, 200)}`,
      mend: 'May the API write to uploads/ in the bucket (s3:PutObject)? A form has only the rights of the API.',
    }
  if (response.headers.get('access-control-allow-origin') === null)
    return {
      wrong: `the bucket takes the form, but lets no page of ${origin} see that (CORS)`,
      mend: 'Allow this origin with POST in the CORS rules of the bucket; the command line works without.',
    }
  const finding = await analysisFinding(command, form.imageId, began)
  if (typeof finding === 'string') return `${finding}, by the bucket; pages may do so too`
  return {
    ...finding,
    mend: `Does the bucket notify the queue of new objects below uploads/? ${finding.mend}`,
  }
}

class BucketError extends Error {}

const SCHEME = 'The connection broke: is it http where it should be https, or the other way round?'
const ISSUER =
  'The issuer of the certificate is unknown here: name the file of its certificate in NODE_EXTRA_CA_CERTS.'
/** By the codes of Node, of OpenSSL and of undici. */
const MENDS: Record<string, string> = {
  ECONNREFUSED: 'Nothing listens there: start it (npm start), or give the address by --endpoint.',
  ENOTFOUND: 'DNS does not know that name: check --endpoint or IMAGE_ANALYZER_ENDPOINT for a typing error.',
  EAI_AGAIN: 'Names cannot be looked up just now: is this machine online?',
  ...{ ECONNRESET: SCHEME, UND_ERR_SOCKET: SCHEME, ERR_SSL_WRONG_VERSION_NUMBER: SCHEME },
  CERT_HAS_EXPIRED: 'The certificate has expired; the operator of the API has to renew it.',
  ERR_TLS_CERT_ALTNAME_INVALID: 'The certificate is for another name: check --endpoint.',
  DEPTH_ZERO_SELF_SIGNED_CERT: 'The certificate is self-signed: name its file in NODE_EXTRA_CA_CERTS.',
  ...{ SELF_SIGNED_CERT_IN_CHAIN: ISSUER, UNABLE_TO_GET_ISSUER_CERT_LOCALLY: ISSUER },
  UNABLE_TO_VERIFY_LEAF_SIGNATURE: ISSUER,
}

function diagnose(error: unknown, check: string): { wrong: string; mend: string } {
  if (error instanceof BucketError) {
    return {
      wrong: error.message,
      mend: 'The URLs of the API lead there: can this machine resolve that name, and does a firewall or a proxy let it through?',
    }
  }
  if (!(error instanceof ApiError))
    return { wrong: causeOf(error), mend: 'This was not expected; please report it.' }
  const reason = causeOf(error.cause)
  if (error.code === 'UNREACHABLE') {
    const proxy = process.env['HTTPS_PROXY'] ?? process.env['https_proxy']
    const byProxy = proxy === undefined ? '' : ' A proxy is set: NODE_USE_ENV_PROXY=1 makes Node use it.'
    return { wrong: error.detail, mend: (MENDS[reason] ?? 'Check --endpoint, and the network.') + byProxy }
  }
  if (error.status >= 300 && error.status < 400)
    return { wrong: error.detail, mend: 'Give the address that it leads to by --endpoint.' }
  // Health asks for no credentials: what does is a gateway without its stage, or another server. 0: none to sign with.
  const foreign = check === 'endpoint' && error.status !== 0 && 'UNAUTHENTICATED'
  if (['UNEXPECTED_ANSWER', 'NOT_FOUND', foreign].includes(error.code)) {
    const mend = 'Check --endpoint: its port, and on AWS the stage at its end (terraform output shows it).'
    return { wrong: `another server answers there (${error.status})`, mend }
  }
  const [wrong = '', ...rest] = explain(error).split(/(?<=\.) /)
  return { wrong, mend: rest.join(' ') || READ_LOG }
}

/** The innermost reason: an error's code, where it has one. */
function causeOf(error: unknown): string {
  if (!(error instanceof Error)) return String(error)
  return (
    (error as NodeJS.ErrnoException).code ??
    (error.cause === undefined ? error.message : causeOf(error.cause))
  )
}

function nodeFinding(version: string): Finding {
  const [major = 0, minor = 0] = version.split('.').map(Number)
  if (major > 22 || (major === 22 && minor >= 18)) return version
  return {
    wrong: `${version} is too old`,
    mend: 'Install Node 22.18 or newer; in a checkout, "npm ci" brings it along.',
  }
}

/** What can be said before asking: it is the API that decides. */
function describeAccess({ token, endpoint, signs }: DoctorCommand): Finding {
  if (signs) return 'the signature is accepted'
  if (token === undefined) return 'no token is needed'
  const { protocol, hostname } = new URL(endpoint)
  if (protocol === 'http:' && !/^(localhost|127\.\d+\.\d+\.\d+|\[::1\])$/.test(hostname)) {
    return { wrong: 'the token travels in clear text', mend: 'Use https in --endpoint.' }
  }
  const exp = claims(token)?.['exp']
  if (typeof exp !== 'number') return 'the token is good'
  const end = new Date(exp * 1_000)
  if (end.getTime() >= Date.now()) return `the token is good until ${end.toISOString()}`
  return { wrong: `the token expired at ${end.toISOString()}`, mend: 'Get a new one from its issuer.' }
}

/** Noise of 96×96 pixels (Rekognition wants 80), so that no two are the same: one seen before would not be analysed. */
export function tinyPicture(side = 96): Uint8Array<ArrayBuffer> {
  const chunk = (type: string, data: Buffer) => {
    const body = Buffer.concat([Buffer.from(type, 'latin1'), data])
    const size = Buffer.alloc(4)
    size.writeUInt32BE(data.length)
    const check = Buffer.alloc(4)
    check.writeUInt32BE(crc32(body))
    return Buffer.concat([size, body, check])
  }
  const header = Buffer.alloc(13)
  header.writeUInt32BE(side, 0)
  header.writeUInt32BE(side, 4)
  // 8 bits a channel, truecolour (PNG, section 11.2.2).
  header.set([8, 2], 8)
  const rows = randomBytes(side * (1 + side * 3))
  // Each row begins with its filter: none.
  for (let row = 0; row < side; row += 1) rows[row * (1 + side * 3)] = 0
  return new Uint8Array(
    Buffer.concat([
      Buffer.from('\x89PNG\r\n\x1a\n', 'latin1'),
      chunk('IHDR', header),
      chunk('IDAT', deflateSync(rows)),
      chunk('IEND', Buffer.alloc(0)),
    ]),
  )
}
