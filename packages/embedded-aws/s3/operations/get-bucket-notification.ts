import { sendXml } from '../errors.ts'
import { notificationsDocument, type QueueConfiguration } from '../notifications.ts'
import type { Operation } from '../operation.ts'
import { NOTIFICATION } from '../state.ts'

export const getBucketNotification: Operation = ({ fauxqs }, { bucket, response }) => {
  const kept = fauxqs.bucketSettings.get(bucket, NOTIFICATION)
  sendXml(response, 200, notificationsDocument((kept ?? []) as QueueConfiguration[]))
}
