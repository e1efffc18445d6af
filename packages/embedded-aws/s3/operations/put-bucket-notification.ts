import type { FauxqsModules } from '../../fauxqs.ts'
import { S3Error } from '../errors.ts'
import { parseNotifications, type QueueConfiguration, testMessage } from '../notifications.ts'
import { type Operation, readText } from '../operation.ts'
import { NOTIFICATION } from '../state.ts'

export const putBucketNotification: Operation = async ({ fauxqs }, { bucket, caller, request, response }) => {
  const configurations = parseNotifications(await readText(request))
  // With this header there is neither the look at the queues nor the test message that is a part of it.
  if (request.headers['x-amz-skip-destination-validation'] !== 'true') {
    requireQueues(fauxqs, configurations)
    for (const { Queue } of configurations) fauxqs.send(Queue, testMessage(bucket, caller.requestId))
  }
  fauxqs.bucketSettings.put(bucket, NOTIFICATION, configurations)
  response.writeHead(200, { 'content-length': 0 }).end()
}

function requireQueues(fauxqs: FauxqsModules, configurations: QueueConfiguration[]): void {
  const missing = configurations.filter(({ Queue }) => !fauxqs.hasQueue(Queue))
  if (missing.length === 0) return
  const details = missing.flatMap(({ Queue }, index) => [
    [`ArgumentName${index + 1}`, Queue],
    [`ArgumentValue${index + 1}`, 'The destination queue does not exist'],
  ])
  throw new S3Error(
    'InvalidArgument',
    'Unable to validate the following destination configurations',
    400,
    Object.fromEntries(details),
  )
}
