import { requireChecksums } from './digests.ts'
import { S3Error } from './errors.ts'
import type { EmulatorRequest, S3Store } from './state.ts'
import { parseXml } from './xml.ts'

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

const invalidPart = (): S3Error =>
  new S3Error(
    'InvalidPart',
    "One or more of the specified parts could not be found.  The part may not have been uploaded, or the specified entity tag may not match the part's entity tag.",
  )
