import type { IncomingMessage, ServerResponse } from 'node:http'
import { finished } from 'node:stream/promises'
import { Busboy } from '@fastify/busboy'
import { isFromPage } from '../../origins.ts'
import { MAX_OBJECT_BYTES } from '../../storage.ts'
import {
  invalidArgument,
  noSuchBucket,
  notImplemented,
  preconditionFailed,
  S3Error,
  sendXml,
  tooLarge,
} from '../errors.ts'
import { encodeWord } from '../metadata.ts'
import type { Operation } from '../operation.ts'
import { checkPolicy, type PostForm } from '../post-policy.ts'
import { verifyForm } from '../post-signature.ts'
import { type NewObject, NO_CONTENT_TYPE } from '../state.ts'
import { xml } from '../xml.ts'

/** Of everything before the file (developer guide, "HTML form declaration"; the number is that of S3's own refusal). */
const MAX_FIELDS_BYTES = 20_480
/** Read and dropped after that, since few clients look for an answer before they have sent everything. */
const MAX_DISCARDED_BYTES = 64_000_000
/** How the parser refuses a boundary: by a plain Error, which none of our own faults is. */
const isParserError = (error: unknown): boolean => Object.getPrototypeOf(error) === Error.prototype
const FILENAME = /\$\{filename\}/g

/**
 * The upload of a browser's form, which S3 calls POST Object (developer guide, "POST Object" and "Creating an HTML
 * form using AWS Signature Version 4"): what `createPresignedPost` of the SDKs makes the fields of.
 */
export const postObject: Operation = async (
  { fauxqs, credentials },
  { bucket, caller, request, response },
) => {
  if (!/^multipart\/form-data\b/i.test(request.headers['content-type'] ?? ''))
    throw preconditionFailed({
      Condition: 'Bucket POST must be of the enclosure-type multipart/form-data',
    })
  if (!fauxqs.hasBucket(bucket)) throw noSuchBucket(bucket)
  response.setHeader('x-amz-request-id', caller.requestId)
  response.setHeader('x-amz-id-2', caller.requestId)
  const form = await readForm(request)
  if (form === undefined) return
  const value = (name: string): string | undefined => form.fields.get(name)?.value
  const key = value('key')
  if (key === undefined || key === '')
    throw invalidArgument(
      "Bucket POST must contain a field named 'key'.  If it is specified, please check the order of the fields.",
      'key',
      '',
    )
  if (form.files !== 1)
    throw invalidArgument('POST requires exactly one file upload per request.', 'file', String(form.files))
  // The signature first: the policy of a form that is not signed is not read.
  const policy = verifyForm(value, credentials, !isFromPage(request.headers))
  checkPolicy(policy, form, bucket, new Date())
  refuseUnsupported(form)
  if (form.fileBytes > MAX_OBJECT_BYTES) throw tooLarge(form.fileBytes)
  // It may have gone while the form was on its way.
  if (!fauxqs.hasBucket(bucket)) throw noSuchBucket(bucket)
  const object: NewObject = {
    bucket,
    key,
    body: Buffer.concat(form.file),
    contentType: headerValue(value('content-type') || NO_CONTENT_TYPE),
    metadata: metadataOf(form),
    system: {
      contentDisposition: headerValue(value('content-disposition') ?? ''),
      contentEncoding: headerValue(value('content-encoding') ?? ''),
      cacheControl: headerValue(value('cache-control') ?? ''),
    },
  }
  const { etag } = fauxqs.putObject(object, caller)
  const host = request.headers.host ?? ''
  // Otherwise it is in the host.
  const inPath = request.url?.startsWith(`/${bucket}`) ?? false
  const location = `http://${host}${inPath ? `/${bucket}` : ''}/${encodeURIComponent(key)}`
  answer(response, form, { location, bucket, key, etag })
}

interface ReadForm extends PostForm {
  /** Empty if it is larger than an object may be. */
  file: Buffer[]
  files: number
}

/**
 * @returns nothing if the client has gone away
 * @throws S3Error if it is no form
 */
async function readForm(request: IncomingMessage): Promise<ReadForm | undefined> {
  const malformed = new S3Error(
    'MalformedPOSTRequest',
    'The body of your POST request is not well-formed multipart/form-data.',
  )
  const form: ReadForm = { fields: new Map(), file: [], files: 0, fileBytes: 0 }
  let filename: string | undefined
  let fieldsBytes = 0
  let parser: InstanceType<typeof Busboy>
  try {
    parser = new Busboy({
      headers: { 'content-type': request.headers['content-type'] ?? '' },
      limits: { fieldSize: MAX_FIELDS_BYTES + 1 },
      // It is the name that makes it the file, with or without a file name (as recorded from S3).
      isPartAFile: (name) => name?.toLowerCase() === 'file',
    })
  } catch (error) {
    throw isParserError(error) ? malformed : error
  }
  parser.on('field', (name: string | undefined, value) => {
    // Fields after the file are ignored.
    if (name === undefined || form.files > 0) return
    fieldsBytes += Buffer.byteLength(name) + Buffer.byteLength(value)
    if (fieldsBytes > MAX_FIELDS_BYTES) return
    const before = form.fields.get(name.toLowerCase())?.value
    const joined = before === undefined ? value : `${before},${value}`
    form.fields.set(name.toLowerCase(), { name, value: joined })
  })
  parser.on('file', (_, stream, name: string | undefined) => {
    form.files += 1
    // A part that is cut off fails its stream as well as the parser; without a listener, that would end the process.
    stream.on('error', (error) => parser.destroy(error))
    if (form.files > 1) {
      stream.resume()
      return
    }
    filename = name
    stream.on('data', (chunk: Buffer) => {
      form.fileBytes += chunk.length
      if (form.fileBytes <= MAX_OBJECT_BYTES) form.file.push(chunk)
      else form.file = []
    })
  })
  let broken = false
  const parsed = finished(parser).catch(() => {
    broken = true
  })
  try {
    let received = 0
    for await (const chunk of request) {
      received += chunk.length
      if (received > MAX_OBJECT_BYTES + MAX_DISCARDED_BYTES) request.socket.destroy()
      if (broken) continue
      // Once it has failed, the parser does not call back.
      await Promise.race([new Promise<void>((resolve) => parser.write(chunk, () => resolve())), parsed])
    }
  } catch (error) {
    parser.destroy()
    // The client has gone, or was sent away.
    const { code } = error as NodeJS.ErrnoException
    if (code === 'ECONNRESET' || code === 'ERR_STREAM_PREMATURE_CLOSE') return undefined
    throw error
  }
  parser.end()
  await parsed
  if (broken) throw malformed
  if (fieldsBytes > MAX_FIELDS_BYTES)
    throw new S3Error(
      'MaxPostPreDataLengthExceeded',
      // So S3 writes it.
      'Your POST request fields preceeding the upload file was too large.',
      400,
      { MaxPostPreDataLengthBytes: MAX_FIELDS_BYTES },
    )
  if (filename !== undefined) nameFile(form, filename)
  return form
}

/** Before the policy is looked at; a file without a name leaves the variable as it stands. */
function nameFile({ fields }: ReadForm, filename: string): void {
  for (const field of fields.values()) field.value = field.value.replaceAll(FILENAME, () => filename)
}

/** What S3 would do with these, nothing here does. */
function refuseUnsupported(form: PostForm): void {
  const harmless = new Map([
    ['acl', /^(private|bucket-owner-full-control)$/],
    ['x-amz-server-side-encryption', /^AES256$/],
    ['x-amz-storage-class', /^STANDARD$/],
    ['x-amz-algorithm', /./],
    ['x-amz-credential', /./],
    ['x-amz-date', /./],
    ['x-amz-signature', /./],
    ['x-amz-security-token', /./],
  ])
  for (const [lower, { name, value }] of form.fields) {
    if (lower.startsWith('x-amz-meta-') || harmless.get(lower)?.test(value)) continue
    if (lower === 'acl') throw new S3Error('AccessControlListNotSupported', 'The bucket does not allow ACLs')
    if (lower.startsWith('x-amz-') || ['tagging', 'expires', 'content-md5'].includes(lower))
      throw notImplemented(`form field "${name}" with the value "${value.slice(0, 100)}"`)
  }
}

function metadataOf(form: PostForm): Record<string, string> {
  return Object.fromEntries(
    [...form.fields]
      .filter(([name]) => name.startsWith('x-amz-meta-'))
      .map(([name, { value }]) => [name.slice('x-amz-meta-'.length), encodeWord(value)]),
  )
}

/** It is sent as a header with every GET, where there can be neither a line break nor more than Latin-1. */
const headerValue = (value: string): string => value.replaceAll(/[^\t -~\xa0-\xff]/g, ' ')

function answer(
  response: ServerResponse,
  form: PostForm,
  { location, bucket, key, etag }: { location: string; bucket: string; key: string; etag: string },
): void {
  const value = (name: string): string | undefined => form.fields.get(name)?.value
  const redirect = value('success_action_redirect') ?? value('redirect')
  if (redirect !== undefined && /^https?:/i.test(redirect) && URL.canParse(redirect)) {
    const url = new URL(redirect)
    for (const [name, text] of Object.entries({ bucket, key, etag })) url.searchParams.append(name, text)
    response.writeHead(303, { location: url.href, etag, 'content-length': 0 })
    response.end()
    return
  }
  response.setHeader('etag', etag)
  response.setHeader('location', location)
  const status = value('success_action_status')
  if (status === '201') {
    const elements = { Location: location, Bucket: bucket, Key: key, ETag: etag }
    const content = Object.entries(elements).map(([name, text]) => xml(name, text))
    sendXml(response, 201, `<?xml version="1.0" encoding="UTF-8"?>\n${xml('PostResponse', content)}`)
    return
  }
  response.writeHead(status === '200' ? 200 : 204, status === '200' ? { 'content-length': 0 } : {})
  response.end()
}
