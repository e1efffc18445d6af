import { DynamoDBClient } from '@aws-sdk/client-dynamodb'
import { DynamoDBDocumentClient } from '@aws-sdk/lib-dynamodb'
import { inWords } from './event.ts'
import { buildHandler } from './lambda.ts'
import { onceIn } from './once.ts'

const table = process.env['SEEN_TABLE']
if (!table) throw new Error('SEEN_TABLE must name the table of events that were seen.')
const once = onceIn(DynamoDBDocumentClient.from(new DynamoDBClient()), table, 'lambda')

export const handler = buildHandler(once, async (event) => console.log(inWords(event)))
