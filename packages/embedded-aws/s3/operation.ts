import type { IncomingMessage, ServerResponse } from 'node:http'
import type { FauxqsModules } from '../fauxqs.ts'
import type { Credentials } from '../signature-v4.ts'
import { malformedXml } from './errors.ts'
import type { Caller } from './state.ts'

/** What operations work on. */
export interface Context {
  fauxqs: FauxqsModules
  region: string
  /** Of the next event of a new object. */
  nextSequencer: () => string
  /** Whose signatures of browser forms and of presigned URLs are verified; see EmbeddedAwsOptions. */
  credentials: readonly Credentials[]
  onDropped: (dropped: { eventId: string; targetArn: string; reason: unknown }) => void
}

/** One request for one. */
export interface Call {
  bucket: string
  /** Empty for a bucket. */
  key: string
  query: URLSearchParams
  caller: Caller
  request: IncomingMessage
  response: ServerResponse
}

/** Answers. @throws S3Error */
export type Operation = (context: Context, call: Call) => void | Promise<void>

/** A bucket's CORS rules may have 64 KB, the largest of these documents (API reference, PutBucketCors). */
const MAX_DOCUMENT_BYTES = 65_536

export async function readText(request: IncomingMessage, mostBytes = MAX_DOCUMENT_BYTES): Promise<string> {
  const chunks: Buffer[] = []
  let length = 0
  for await (const chunk of request) {
    length += chunk.length
    if (length <= mostBytes) chunks.push(chunk)
  }
  if (length > mostBytes) throw malformedXml()
  return Buffer.concat(chunks).toString('utf8')
}
