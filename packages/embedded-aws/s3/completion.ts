import { MAX_OBJECT_BYTES } from '../storage.ts'
import { requireChecksums } from './digests.ts'
import { malformedXml, S3Error, tooLarge } from './errors.ts'
import type { Emulator, EmulatorRequest, S3Store, StoredObject, Upload } from './state.ts'
import { parseXml, xml } from './xml.ts'

/**
 * What the end of an upload in parts says of the whole and of each part, which the emulator does not look at. What is
 * wrong with the list itself is the emulator's to refuse.
 *
 * @throws S3Error where the bytes are others
 */
export async function requireCompletion(
  { method, headers, query, body }: EmulatorRequest,
  store: S3Store,
): Promise<void> {
  const upload = store.multipartUploads.get(query['uploadId'] ?? '')
  if (method !== 'POST' || upload === undefined) return
  const bodies: Uint8Array[] = []
  for (const element of parseXml(String(body))?.children ?? []) {
    const texts = new Map(element.children.map(({ name, text }) => [name, text.trim()]))
    const part = upload.parts.get(Number(texts.get('PartNumber')))
    if (part === undefined) return
    bodies.push(part.body)
    const checksums = [...texts].filter(([name]) => name.startsWith('Checksum'))
    if (checksums.length === 0) continue
    const named = checksums.map(([name, value]) => [`x-amz-${name.replace('m', 'm-')}`.toLowerCase(), value])
    try {
      await requireChecksums(Object.fromEntries(named), new Uint8Array(part.body))
    } catch (error) {
      throw error instanceof S3Error && error.code === 'BadDigest' ? invalidPart() : error
    }
  }
  const size = headers['x-amz-mp-object-size']
  const bytes = bodies.reduce((sum, { length }) => sum + length, 0)
  if (size !== undefined && Number(size) !== bytes)
    throw new S3Error(
      'InvalidRequest',
      `The provided 'x-amz-mp-object-size' header value ${size} does not match what was computed: ${bytes}`,
    )
  // That of checksums of the parts ends with their number.
  const ofWhole = Object.entries(headers).filter(
    ([name, value]) => name.startsWith('x-amz-checksum-') && !/-\d+$/.test(String(value)),
  )
  if (ofWhole.length > 0) await requireChecksums(Object.fromEntries(ofWhole), Buffer.concat(bodies))
}

/** All parts are in memory. @param next the part that comes, in the place of one of its number @throws S3Error */
export function requireSize({ parts }: Upload, next?: { partNumber: number; bytes: number }): void {
  const others = [...parts.values()].filter(({ partNumber }) => partNumber !== next?.partNumber)
  const bytes = others.reduce((sum, { body }) => sum + body.length, next?.bytes ?? 0)
  if (bytes > MAX_OBJECT_BYTES) throw tooLarge(bytes)
}

const invalidPart = (): S3Error =>
  new S3Error(
    'InvalidPart',
    "One or more of the specified parts could not be found.  The part may not have been uploaded, or the specified entity tag may not match the part's entity tag.",
  )

/** The emulator skips parts that it cannot read, such as those with `&#34;` in an ETag, as Go writes it. @throws S3Error */
export function partsOf(body: unknown): string {
  const root = parseXml(String(body))
  if (root?.name !== 'CompleteMultipartUpload' || root.children.length === 0) throw malformedXml()
  const parts = root.children.map(({ name, children }) => {
    const [number, etag] = ['PartNumber', 'ETag'].map(
      (wanted) => children.find((child) => child.name === wanted)?.text.trim() ?? '',
    )
    if (name !== 'Part' || !/^\d{1,5}$/.test(number ?? '') || etag === '') throw malformedXml()
    return xml('Part', [xml('PartNumber', number ?? ''), xml('ETag', etag ?? '')])
  })
  return xml(root.name, parts)
}

/**
 * A caller whose answer got lost asks for the end of an upload once more. S3 answers the same then; here, for as long as
 * the object is the one that came of it, and the process runs.
 */
export function repeatCompletions(app: Emulator, store: S3Store): void {
  const ends = new WeakMap<StoredObject, { uploadId: string | undefined; parts: unknown; document: string }>()
  const objectOf = ({ params }: EmulatorRequest): StoredObject | undefined =>
    store.buckets.get(params?.bucket ?? '')?.get(params?.['*'] ?? '')
  const isEnd = ({ method, query }: EmulatorRequest): boolean =>
    method === 'POST' && query['uploadId'] !== undefined
  app.addHook('preHandler', (request, reply, done) => {
    const object = isEnd(request) ? objectOf(request) : undefined
    const end = object && ends.get(object)
    try {
      const isRepeated =
        end !== undefined && end.uploadId === request.query['uploadId'] && end.parts === partsOf(request.body)
      if (isRepeated) reply.header('content-type', 'application/xml').send(end.document)
      else done()
    } catch (error) {
      done(error as Error)
    }
  })
  app.addHook('onSend', (request, _reply, body, done) => {
    const object = isEnd(request) ? objectOf(request) : undefined
    if (object !== undefined && !ends.has(object) && /<CompleteMultipartUploadResult/.test(String(body)))
      ends.set(object, {
        uploadId: request.query['uploadId'],
        parts: request.body,
        document: String(body),
      })
    done()
  })
}
