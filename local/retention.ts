import { DeleteObjectCommand, paginateListObjectsV2, type S3Client } from '@aws-sdk/client-s3'
import { UPLOADS } from '../shared/image.ts'

const DAY_MS = 86_400_000
/** An upload whose job waits is the only copy of its image: as long as a queue keeps jobs (14 days), and a day. */
const UPLOAD_DAYS = 15

/**
 * What the bucket's lifecycle rules do on AWS (storage.tf): objects go by their age, unused uploads
 * as well. Records go by their time to live, a little earlier, since each is made before its objects.
 *
 * @param days of retention; undefined: for ever
 * @param signal aborted when it is to end early
 */
export async function expireObjects(
  { s3, bucket, now }: { s3: S3Client; bucket: string; now: () => Date },
  days: number | undefined,
  signal?: AbortSignal,
): Promise<void> {
  const pages = paginateListObjectsV2(
    { client: s3 },
    { Bucket: bucket, Prefix: days === undefined ? UPLOADS : '' },
  )
  for await (const { Contents = [] } of pages) {
    for (const { Key = '', LastModified = now() } of Contents) {
      if (signal?.aborted) return
      const most = Key.startsWith(UPLOADS) ? Math.min(days ?? UPLOAD_DAYS, UPLOAD_DAYS) : days
      if (most !== undefined && LastModified.getTime() + most * DAY_MS < now().getTime()) {
        await s3.send(new DeleteObjectCommand({ Bucket: bucket, Key }))
      }
    }
  }
}
