import type { IncomingHttpHeaders } from 'node:http'
import { notImplemented, S3Error } from './errors.ts'

/** Headers that would change what is stored, with the values that ask for nothing but what is done anyway. */
const HEADERS: [name: RegExp, harmless: RegExp][] = [
  [/^x-amz-tagging$/, /^$/],
  [/^x-amz-storage-class$/, /^STANDARD$/],
  [/^x-amz-server-side-encryption$/, /^AES256$/],
  [/^x-amz-server-side-encryption-(aws-kms-key-id|context|customer-.*)$/, /^$/],
  [/^x-amz-copy-source-server-side-encryption-customer-/, /^$/],
  [/^x-amz-(object-lock-.*|bucket-object-lock-enabled)$/i, /^false$/i],
  [/^x-amz-website-redirect-location$/, /^$/],
  [/^x-amz-write-offset-bytes$/, /^$/],
  [/^x-amz-tagging-directive$/, /^COPY$/],
  [/^expires$/, /^$/],
  [/^x-amz-object-ownership$/, /^BucketOwnerEnforced$/],
  // Conditions that only directory buckets have (API reference, DeleteObject).
  [/^x-amz-if-match-(size|last-modified-time)$/, /^$/],
]

/** @throws S3Error for what would otherwise be stored without something that the caller asks for */
export function refuseHeaders(headers: IncomingHttpHeaders): void {
  for (const [header, value] of Object.entries(headers)) {
    const refused = HEADERS.some(([name, harmless]) => name.test(header) && !harmless.test(String(value)))
    if (refused) throw notImplemented(`"${header}: ${value}"`)
    // As a bucket of AWS since 2023, whose objects belong to its owner alone (user guide, "Object Ownership").
    const isAcl =
      header.startsWith('x-amz-grant-') ||
      (header === 'x-amz-acl' && value !== 'private' && value !== 'bucket-owner-full-control')
    if (isAcl) throw new S3Error('AccessControlListNotSupported', 'The bucket does not allow ACLs')
  }
}

/** Nothing here has versions. @throws S3Error */
export function refuseVersion(versionId: string | undefined): void {
  if (versionId !== undefined && versionId !== 'null')
    throw new S3Error('NoSuchVersion', 'The specified version does not exist.', 404, { VersionId: versionId })
}
