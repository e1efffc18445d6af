import type { IncomingHttpHeaders } from 'node:http'
import { preconditionFailed, S3Error } from './errors.ts'
import type { StoredObject } from './state.ts'

/** Conditional requests (user guide, "Add preconditions to S3 operations"). */

export const noSuchKey = (Key: string): S3Error =>
  new S3Error('NoSuchKey', 'The specified key does not exist.', 404, { Key })

/** The value of If-Match or If-None-Match: `*`, or ETags, which S3 takes without their quotation marks too. */
const names = (value: string, etag: string): boolean =>
  value.split(',').some((one) => one.trim() === '*' || bare(one) === bare(etag))
const bare = (etag: string): string => etag.trim().replace(/^W\//, '').replaceAll('"', '')

/** Last-Modified has whole seconds, so a date that a caller has from there is to be the same. S3 ignores what is none, or in the future. */
const isModifiedSince = ({ lastModified }: StoredObject, date: string | undefined): boolean | undefined => {
  const since = Date.parse(date ?? '')
  const isPast = since <= Date.now()
  return isPast ? Math.floor(lastModified.getTime() / 1_000) * 1_000 > since : undefined
}

/**
 * In the order of RFC 9110: a date counts only without an ETag of the same direction.
 *
 * @param prefix of the headers' names
 * @returns whether the caller has the object already
 * @throws S3Error PreconditionFailed
 */
export function isNotModified(headers: IncomingHttpHeaders, object: StoredObject, prefix = ''): boolean {
  const header = (name: string): string | undefined => headers[`${prefix}${name}`]?.toString()
  const [match, noneMatch] = [header('if-match'), header('if-none-match')]
  const isAsExpected =
    match === undefined
      ? isModifiedSince(object, header('if-unmodified-since')) !== true
      : names(match, object.etag)
  if (!isAsExpected) throw preconditionFailed()
  return noneMatch === undefined
    ? isModifiedSince(object, header('if-modified-since')) === false
    : names(noneMatch, object.etag)
}

/** @throws S3Error unless an object may be copied */
export function requireCopySource(headers: IncomingHttpHeaders, source: StoredObject): void {
  if (isNotModified(headers, source, 'x-amz-copy-source-')) throw preconditionFailed()
}

/** @throws S3Error unless an object may be written, or deleted, over what is there */
export function requireWritable(
  { 'if-match': match, 'if-none-match': noneMatch }: IncomingHttpHeaders,
  key: string,
  object: StoredObject | undefined,
): void {
  if (noneMatch !== undefined && noneMatch !== '*')
    throw new S3Error(
      'NotImplemented',
      'A header you provided implies functionality that is not implemented',
      501,
      { Header: 'If-None-Match' },
    )
  if (noneMatch !== undefined && object !== undefined) throw preconditionFailed()
  if (match !== undefined && object === undefined) throw noSuchKey(key)
  if (match !== undefined && object !== undefined && !names(match, object.etag)) throw preconditionFailed()
}
